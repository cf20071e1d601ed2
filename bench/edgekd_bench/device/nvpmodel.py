"""The power mode of a Jetson, as ``nvpmodel`` reports it.

A mode caps clocks and switches cores off; the watts in its name are a label, not a budget. The
number of a mode means something else on every board (MAXN_SUPER is 2 on an Orin Nano and 0 on an
Orin NX), so both number and name are read and neither is ever assumed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgekd_bench.device.sysfs import read_text
from edgekd_bench.device.tool import output_of

_MODE = re.compile(r"^NV Power Mode: *(\S.*?) *$", re.MULTILINE)
_ID = re.compile(r"^ *(\d+) *$", re.MULTILINE)
_KNOWN = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", re.MULTILINE)


def parse_nvpmodel(text: str) -> dict[str, Any]:
    """``NV Power Mode: 25W`` and the line with its number; empty: no mode in the text.

    Lines that complain about cores a smaller module does not have are passed over.
    """
    mode = _MODE.search(text)
    if mode is None:
        return {}
    number = _ID.search(text, mode.end())
    return {"mode": mode[1]} | ({} if number is None else {"id": int(number[1])})


def parse_power_modes(conf: str) -> dict[int, str]:
    """The modes that a board has, from ``/etc/nvpmodel.conf``; comments are not modes."""
    return {int(number): name for number, name in _KNOWN.findall(conf)}


def describe_power_mode(root: Path = Path("/")) -> dict[str, Any]:
    """The mode that is set and those there are; empty where nvpmodel is not installed."""
    mode = parse_nvpmodel(output_of(["nvpmodel", "-q"]) or "")
    if not mode:
        return {}
    modes = parse_power_modes(read_text(root / "etc/nvpmodel.conf") or "")
    return mode | ({"modes": modes} if modes else {})
