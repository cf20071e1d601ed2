"""Reading a line of ``tegrastats``, NVIDIA's monitor on every Jetson.

The format has no version and changes between Jetson Linux releases and boards: fields come and go,
``VDD_IN 5017mW/5017mW`` (now/mean) became ``…/…/…`` (now/mean/peak) in release 39, temperatures
likewise, and without root the GPU's and the memory's clock are missing. So a line is searched for
the shapes of its fields, not read position by position, and what is absent stays absent. Field
meanings: "Tegrastats Utility" in NVIDIA's Jetson Linux Developer Guide,
https://docs.nvidia.com/jetson/archives/r38.4/DeveloperGuide/AT/JetsonLinuxDevelopmentTools/TegrastatsUtility.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# A GPU that is powered down may read a few hundred milliwatts below zero.
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (-?\d+)(?:mW)?/-?\d+(?:mW)?(?:/-?\d+(?:mW)?)?(?=\s|$)")
_TEMPERATURE = re.compile(r"\b(\w+)@(-?\d+(?:\.\d+)?)C\b")
_CPUS = re.compile(r"\bCPU \[([^\]]*)\](?:@(\d+))?")
_CORE = re.compile(r"(\d+)%(?:@(\d+))?")
_GPU = re.compile(r"\bGR3D_FREQ (?:(\d+)%)?(?:@\[?([\d,]+)\]?)?")
_MEMORY_CLOCK = re.compile(r"\bEMC_FREQ (?:\d+%)?@(\d+)")
_RAM = re.compile(r"\bRAM (\d+)/(\d+)MB")

_NO_SENSOR_C = -256.0  # printed for an engine that is powered down
_FIXED_SENSORS = ("PMIC",)  # always reads 100 °C or 50 °C: not a measurement


@dataclass(frozen=True)
class TegrastatsLine:
    """What one line says; fields that the board or the release does not print are empty."""

    cpu_percent: tuple[float | None, ...] = ()  # by core; None: switched off
    cpu_mhz: tuple[int, ...] = ()  # of the cores that are on
    gpu_percent: float | None = None
    gpu_mhz: int | None = None  # the fastest of the GPU's clusters
    memory_mhz: int | None = None
    ram_used_mb: int | None = None
    temperatures_c: dict[str, float] = field(default_factory=dict)  # by sensor, lower case
    rails_mw: dict[str, float] = field(default_factory=dict)  # power of the moment, by rail


def parse_tegrastats(line: str) -> TegrastatsLine | None:
    """Read one line; None: not a line of tegrastats."""
    ram = _RAM.search(line)
    if ram is None:
        return None
    percent, mhz = _cores(line)
    gpu = _GPU.search(line)
    memory = _MEMORY_CLOCK.search(line)
    return TegrastatsLine(
        cpu_percent=percent,
        cpu_mhz=mhz,
        gpu_percent=float(gpu[1]) if gpu and gpu[1] else None,
        gpu_mhz=max(map(int, gpu[2].split(","))) if gpu and gpu[2] else None,
        memory_mhz=int(memory[1]) if memory else None,
        ram_used_mb=int(ram[1]),
        temperatures_c={
            name.lower(): float(value)
            for name, value in _TEMPERATURE.findall(line)
            if float(value) > _NO_SENSOR_C and name not in _FIXED_SENSORS
        },
        rails_mw={name: float(now) for name, now in _RAIL.findall(line) if name != "RAM"},
    )


def _cores(line: str) -> tuple[tuple[float | None, ...], tuple[int, ...]]:
    """Load and clock by core, in both shapes: ``[1%@729,off]`` and ``[1%,off]@729``."""
    found = _CPUS.search(line)
    if found is None:
        return (), ()
    cores = [_CORE.match(text.strip()) for text in found[1].split(",")]
    percent = tuple(None if core is None else float(core[1]) for core in cores)
    clocks = [core[2] or found[2] for core in cores if core is not None]
    return percent, tuple(int(clock) for clock in clocks if clock)
