"""An NVIDIA GPU's clocks, power, temperature and throttling, by NVIDIA's management library.

Needs the optional package ``nvidia-ml-py`` (module ``pynvml``); without it, or without a driver,
there is simply no such source. NVML answers every question separately: an Orin gives its name
alone, a Thor power and temperature but no clock, so each answer may be missing.

The names of the throttle reasons are those of ``nvmlClocksEventReasons`` in NVIDIA's NVML API
Reference, https://docs.nvidia.com/deploy/nvml-api/.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from edgekd_bench.device.clock_flag import judge_clock
from edgekd_bench.device.proc_stat import is_in_tree
from edgekd_bench.device.source import Finding, Reading, increase_of, levels_of

NEAR_C = 5.0  # closer than this to where it slows down is near
_ENERGY_SECONDS = 1.0  # the energy counter moves in steps of up to 0.1 s
_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "heat",
    0x40: "heat (hardware)",
    0x80: "power brake",
    0x200: "board power limit",
    0x400: "voltage reliability",
}  # Not: idle, clocks set by the user, sync boost, display. Those are no trouble.


class NvmlSource:
    """Reads the GPU that CUDA would take first."""

    name = "gpu"

    def __init__(self, nvml: Any, handle: Any) -> None:
        """Take a GPU.

        Args:
            nvml: the module ``pynvml``, initialised.
            handle: of the GPU.
        """
        self._nvml = nvml
        self._handle = handle
        self._unsupported: set[str] = set()

    @classmethod
    def find(cls) -> NvmlSource | None:
        """The first visible GPU; None: no package, no driver or no GPU."""
        nvml = load_nvml()
        if nvml is None:
            return None
        try:
            return cls(nvml, _visible_gpu(nvml))
        except nvml.NVMLError:
            nvml.nvmlShutdown()
            return None

    def read(self) -> dict[str, float]:
        """Clocks in MHz, power in W, energy in J, degrees Celsius, reasons as their bits."""
        nvml = self._nvml
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # older drivers know it by this name
            reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        found = {
            "clock_mhz": self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            "memory_mhz": self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            "power_w": _scaled(self._ask("nvmlDeviceGetPowerUsage"), 1e-3),
            "energy_j": _scaled(self._ask("nvmlDeviceGetTotalEnergyConsumption"), 1e-3),
            "celsius": self._ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            "reasons": reasons,
            "foreign_processes": self._foreign_processes(),
        }
        return {name: float(value) for name, value in found.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """Name, driver, limits, and what ``read`` gives."""
        facts = {
            "name": _text(self._ask("nvmlDeviceGetName")),
            "driver": _text(self._nvml.nvmlSystemGetDriverVersion()),
            "power_limit_w": _scaled(self._ask("nvmlDeviceGetEnforcedPowerLimit"), 1e-3),
            "slows_down_at_c": self._slowdown_c(),
        }
        values = {name: round(value, 1) for name, value in self.read().items()}
        reasons = values.pop("reasons", None)
        if reasons is not None:
            values["throttled_by"] = _named(int(reasons))  # type: ignore[assignment]
        return {key: value for key, value in facts.items() if value is not None} | values

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """Flag throttling, a moved clock, heat, and other processes on the GPU."""
        moved, facts = judge_clock("the GPU's clock", levels_of(readings, "clock_mhz"))
        flags = [] if moved is None else [moved]
        flags += self._judge_reasons(readings) + self._judge_heat(readings, facts)
        if any(levels_of(readings, "foreign_processes")):
            flags.append("another process used the GPU")
        power_w = _power_w(readings)
        if power_w is not None:
            facts |= {"power_w": round(power_w, 2), "power_of": "GPU board (NVML)"}
        return Finding(tuple(flags), facts, power_w)

    def close(self) -> None:
        """Let go of the library."""
        self._nvml.nvmlShutdown()

    def _judge_reasons(self, readings: Sequence[Reading]) -> list[str]:
        seen = [int(bits) for bits in levels_of(readings, "reasons")]
        counts = {name: sum(bool(bits & bit) for bits in seen) for bit, name in _REASONS.items()}
        return [
            f"the GPU throttled: {name}, in {count} of {len(seen)} samples"
            for name, count in counts.items()
            if count
        ]

    def _judge_heat(self, readings: Sequence[Reading], facts: dict[str, Any]) -> list[str]:
        celsius, limit = levels_of(readings, "celsius"), self._slowdown_c()
        if not celsius:
            return []
        facts["celsius_max"] = max(celsius)
        if limit is None or max(celsius) <= limit - NEAR_C:
            return []
        return [f"the GPU was near its heat limit: {max(celsius):.0f} of {limit:.0f} °C"]

    def _slowdown_c(self) -> float | None:
        threshold = self._nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        celsius = self._ask("nvmlDeviceGetTemperatureThreshold", threshold)
        return None if celsius is None else float(celsius)

    def _foreign_processes(self) -> int | None:
        """Processes on the GPU that are known not to be ours; a hidden one is not known."""
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if processes is None:
            return None
        return sum(is_in_tree(Path("/proc"), p.pid, os.getpid()) is False for p in processes)

    def _ask(self, function: str, *arguments: Any) -> Any:
        """One answer; None: this GPU, driver or version of the package does not give it."""
        key = f"{function}{arguments}"
        if key in self._unsupported or not hasattr(self._nvml, function):
            return None
        try:
            return getattr(self._nvml, function)(self._handle, *arguments)
        except self._nvml.NVMLError:
            self._unsupported.add(key)
            return None


def load_nvml() -> Any | None:
    """The initialised module; None: the package or the driver is missing."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


def _visible_gpu(nvml: Any) -> Any:
    """The handle of the first entry of CUDA_VISIBLE_DEVICES, else of GPU 0."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if first.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(first.encode())
    return nvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdigit() else 0)


def _power_w(readings: Sequence[Reading]) -> float | None:
    """By the energy counter where the stretch is long enough, else the mean of the samples."""
    energy_j = increase_of(readings, "energy_j")
    seconds = readings[-1].time_s - readings[0].time_s if readings else 0.0
    if energy_j is not None and seconds >= _ENERGY_SECONDS:
        return energy_j / seconds
    samples = levels_of(readings, "power_w")
    return fmean(samples) if samples else None


def _named(bits: int) -> list[str]:
    return [name for bit, name in _REASONS.items() if bits & bit]


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value  # bytes before version 11.5
