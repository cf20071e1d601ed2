"""Which sources of device state this machine has, and in which order their power counts.

A Jetson's rails come first: they cover CPU, GPU and memory at once, where NVML covers the GPU and
RAPL the processor.
"""

from __future__ import annotations

from edgekd_bench.device.cpu import CpuSource
from edgekd_bench.device.devfreq import GpuDevfreqSource
from edgekd_bench.device.ina_rails import InaRailsSource
from edgekd_bench.device.nvml import NvmlSource
from edgekd_bench.device.power_supply import BatterySource
from edgekd_bench.device.rapl import RaplSource
from edgekd_bench.device.soctherm import OverCurrentSource
from edgekd_bench.device.source import StateSource
from edgekd_bench.device.tegrastats_source import TegrastatsSource
from edgekd_bench.device.thermal_zones import ThermalSource


def find_sources(device: str) -> list[StateSource]:
    """Sources that work on this machine, started.

    Args:
        device: where the networks run: ``cpu`` or ``cuda``.
    """
    on_gpu = device != "cpu"
    found: list[StateSource | None] = [
        CpuSource(),
        TegrastatsSource.find() or InaRailsSource.find(),
        ThermalSource.find(),
        OverCurrentSource.find(),
        BatterySource.find(),
    ]
    # The clock and the power of the other device are none of the network's business.
    if on_gpu:
        found += [GpuDevfreqSource.find(), NvmlSource.find()]
    else:
        found.append(RaplSource.find())
    return [source for source in found if source is not None]
