"""The processor's name, which x86 kernels tell and ARM kernels leave to ``lscpu``."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from edgekd_bench.device.sysfs import read_text
from edgekd_bench.device.tool import output_of

_MODEL = re.compile(r"^\s*model name\s*:\s*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE)


def parse_cpu_model(text: str) -> str | None:
    """The names in ``/proc/cpuinfo`` or in the output of ``lscpu``, each kind of core once."""
    names = list(dict.fromkeys(name for name in _MODEL.findall(text) if name != "-"))
    return " + ".join(names) or None


def cpu_model(proc: Path = Path("/proc")) -> str | None:
    """``AMD EPYC``, ``Cortex-A78AE``; where nobody knows it the architecture must do."""
    named = parse_cpu_model(read_text(proc / "cpuinfo") or "")
    return named or parse_cpu_model(output_of(["lscpu"]) or "") or platform.machine() or None
