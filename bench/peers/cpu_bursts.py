"""Be a neighbour that burns CPU in bursts: busy for a while, quiet for a while, for SECONDS.

python cpu_bursts.py SECONDS
"""

from __future__ import annotations

import sys
import time

BUSY_S = 0.4
QUIET_S = 0.2


def main() -> None:
    """Burn until the time is over."""
    end = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        burst = time.monotonic() + BUSY_S
        while time.monotonic() < burst:
            pass
        time.sleep(QUIET_S)


if __name__ == "__main__":
    main()
