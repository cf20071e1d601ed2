"""Which of a Jetson's power rails make up the whole, whoever measured them.

Rails overlap, so adding all of them counts some power twice, and taking one of them leaves some
out. What is known of each board (NVIDIA's developer guide and forum; names as tegrastats and the
INA drivers print them):

- ``VIN`` (AGX Thor developer kit) is the input of the whole board, carrier included.
- ``VDD_IN`` (Orin Nano, Orin NX, Xavier NX, TX2) and ``POM_5V_IN`` (Nano) are the module's input.
- AGX Orin and Thor modules without ``VIN`` have two inputs: the high-voltage one, seen as the GPU
  and the CPU rail, and ``VIN_SYS_5V0``, which contains ``VDDQ_VDD2_1V8AO``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_WHOLES = (
    ("board input", ("VIN",)),
    ("module input", ("VDD_IN",)),
    ("module input", ("POM_5V_IN",)),
    ("module inputs", ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")),  # AGX Orin
    ("module inputs", ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")),  # Thor
    ("module inputs", ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")),  # AGX Xavier
)


@dataclass(frozen=True)
class TotalPower:
    """The power of a board or module."""

    watts: float
    scope: str  # 'module input (VDD_IN)'; two scopes must not be compared


def total_power(rails: Mapping[str, float]) -> TotalPower | None:
    """The widest power that the rails allow one to state; None: an unknown set of rails.

    Args:
        rails: milliwatts by rail. An idle rail may read slightly below zero.
    """
    for scope, names in _WHOLES:
        if all(name in rails for name in names):
            watts = sum(rails[name] for name in names) / 1000
            return TotalPower(watts, f"{scope} ({' + '.join(names)})")
    return None
