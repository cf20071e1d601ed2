"""Each source of device state on a machine made of files, processes and modules that stand in."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekd_bench.device.devfreq import GpuDevfreqSource
from edgekd_bench.device.ina_rails import InaRailsSource
from edgekd_bench.device.nvml import NvmlSource
from edgekd_bench.device.power_supply import BatterySource
from edgekd_bench.device.rapl import RaplSource
from edgekd_bench.device.soctherm import OverCurrentSource
from edgekd_bench.device.source import Finding, Reading, StateSource
from edgekd_bench.device.tegrastats_source import TegrastatsSource
from edgekd_bench.device.thermal_zones import ThermalSource

RECORDED = Path(__file__).parent / "recorded/jetson"


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return root


def _hwmon(root: Path, board: str) -> Path:
    recorded = json.loads((RECORDED / board / "hwmon.json").read_text(encoding="utf-8"))
    return _write(root, {f"class/hwmon/{name}": text for name, text in recorded.items()})


def _judge(source: StateSource, *values: dict[str, float]) -> Finding:
    """What the source says of readings one second apart."""
    return source.judge([Reading(float(index), found) for index, found in enumerate(values)])


@pytest.mark.parametrize(
    ("board", "watts", "scope"),
    [
        ("orin_nx", 29.01, "module input (VDD_IN)"),
        ("agx_orin", 22.7, "module inputs (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0)"),
        ("agx_thor", 20.986, "board input (VIN)"),
    ],
)
def test_rails_from_the_kernel(tmp_path: Path, board: str, watts: float, scope: str) -> None:
    source = InaRailsSource.find(_hwmon(tmp_path, board))
    assert source is not None
    finding = _judge(source, source.read(), source.read())
    assert finding.power_w == pytest.approx(watts, abs=0.01)
    assert finding.facts["power_of"] == scope
    assert not {"NC", "sum of shunt voltages"} & set(source.describe())


def test_no_rails_on_other_machines(tmp_path: Path) -> None:
    _write(tmp_path, {"class/hwmon/hwmon0/name": "k10temp"})
    assert InaRailsSource.find(tmp_path) is None
    assert OverCurrentSource.find(tmp_path) is None


def test_power_supply_that_could_not_follow(tmp_path: Path) -> None:
    source = OverCurrentSource.find(_hwmon(tmp_path, "orin_nx"))
    assert source is not None
    before = source.read()
    assert _judge(source, before, source.read()).flags == ()  # events before the run are old
    _write(tmp_path, {"class/hwmon/hwmon3/oc3_event_cnt": "40"})
    flags = _judge(source, before, source.read()).flags
    assert flags == ("throttled by the power supply: 3 × instantaneous over-current",)


def _zone(index: int, name: str, celsius: float, **trips: float) -> dict[str, str]:
    folder = f"class/thermal/thermal_zone{index}"
    files = {f"{folder}/type": name, f"{folder}/temp": str(round(celsius * 1000))}
    for number, (kind, limit) in enumerate(trips.items()):
        files[f"{folder}/trip_point_{number}_type"] = kind
        files[f"{folder}/trip_point_{number}_temp"] = str(round(limit * 1000))
    return files


def test_heat_and_the_engines_it_slows_down(tmp_path: Path) -> None:
    zones = _zone(0, "tj-thermal", 92.0, active=51.0, passive=99.0, critical=104.5)
    zones |= _zone(1, "cv0-thermal", 0.0, passive=99.0)  # powered down
    zones |= _zone(2, "gpu-thermal", 90.0, passive=-274.0, critical=114.5)
    alert = "class/thermal/cooling_device0"
    _write(tmp_path, zones | {f"{alert}/type": "gpu-throttle-alert", f"{alert}/cur_state": "0"})
    source = ThermalSource.find(tmp_path)
    assert source is not None
    assert source.describe() == {
        "tj": {"celsius": 92.0, "limit": 99.0},
        "gpu": {"celsius": 90.0, "limit": 114.5},
    }
    warm = source.read()
    assert _judge(source, warm, warm).flags == ()
    _write(tmp_path, _zone(0, "tj-thermal", 97.5))
    assert _judge(source, warm, source.read()).flags == ("near its heat limit: tj at 98 of 99 °C",)
    _write(tmp_path, {f"{alert}/cur_state": "1"})
    assert "throttled for heat: gpu was slowed down" in _judge(source, warm, source.read()).flags


def test_gpu_clock_that_moved(tmp_path: Path) -> None:
    folder = "class/devfreq/17000000.gpu"
    limits = {f"{folder}/min_freq": "306000000", f"{folder}/max_freq": "918000000"}
    _write(tmp_path, limits | {f"{folder}/cur_freq": "918000000"})
    source = GpuDevfreqSource.find(tmp_path)
    assert source is not None
    assert source.describe()["min_mhz"] == 306
    fast = source.read()
    _write(tmp_path, {f"{folder}/cur_freq": "612000000"})
    flags = _judge(source, fast, fast, source.read()).flags
    assert flags == ("the GPU's clock moved between 612 and 918 MHz while timing",)
    # What the clock was before the stretch began says nothing about the stretch.
    assert _judge(source, source.read(), fast, fast).flags == ()


def test_processor_energy_survives_the_end_of_its_counter(tmp_path: Path) -> None:
    folder = "class/powercap/intel-rapl:0"
    files = {f"{folder}/name": "package-0", f"{folder}/max_energy_range_uj": "100000000"}
    source = RaplSource.find(_write(tmp_path, files | {f"{folder}/energy_uj": "95000000"}))
    assert source is not None
    before = source.read()
    _write(tmp_path, {f"{folder}/energy_uj": "2000000"})
    assert _judge(source, before, source.read()).power_w == pytest.approx(7.0)


def test_battery(tmp_path: Path) -> None:
    power = "class/power_supply"
    mouse = {
        f"{power}/mouse/type": "Battery",
        f"{power}/mouse/scope": "Device",
        f"{power}/mouse/status": "Discharging",
        f"{power}/ucsi/type": "USB",
    }
    assert BatterySource.find(_write(tmp_path, mouse)) is None
    _write(tmp_path, {f"{power}/BAT0/type": "Battery", f"{power}/BAT0/status": "Discharging"})
    source = BatterySource.find(tmp_path)
    assert source is not None
    assert _judge(source, source.read()).flags == ("the machine ran on its battery",)
    _write(tmp_path, {f"{power}/BAT0/status": "Full"})
    assert _judge(source, source.read()).flags == ()


def _fake_tegrastats(folder: Path, lines: Sequence[str], seconds: float) -> None:
    program = folder / "tegrastats"
    body = "".join(f"print({line!r}, flush=True)\n" for line in lines)
    program.write_text(f"#!{sys.executable}\n{body}import time\ntime.sleep({seconds})\n")
    program.chmod(0o755)


def test_tegrastats_is_read_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (RECORDED / "orin_nx/tegrastats_r36.txt").read_text(encoding="utf-8").splitlines()
    _fake_tegrastats(tmp_path, lines, seconds=60)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    source = TegrastatsSource.find()
    assert source is not None
    values: dict[str, float] = {}
    while values.get("VDD_IN") != 8296:  # the newest line counts
        values = source.read()
    finding = _judge(source, values, values, values)
    assert finding.power_w == pytest.approx(8.296)
    assert finding.facts["gpu_percent"] == 67
    assert source.describe()["temperatures_c"]["tj"] == 52.531
    source.close()
    assert source._process.returncode is not None


def test_a_tegrastats_that_died_says_nothing_rather_than_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = (RECORDED / "orin_nx/tegrastats_r36.txt").read_text(encoding="utf-8").splitlines()[0]
    _fake_tegrastats(tmp_path, [line], seconds=0)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    source = TegrastatsSource.find()
    assert source is not None
    source._process.wait()
    assert source.read() == {}
    source.close()


def test_without_tegrastats_there_is_no_such_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert TegrastatsSource.find() is None


class _NvmlError(Exception):
    pass


def _fake_nvml(**answers: Any) -> SimpleNamespace:
    """The module pynvml of a GPU that answers what is given and refuses everything else."""

    def answer(name: str) -> Any:
        def call(_handle: object, *_arguments: object) -> Any:
            if name not in answers:
                raise _NvmlError("Not Supported")
            return answers[name]

        return call

    names = [
        "CurrentClocksEventReasons",
        "ClockInfo",
        "PowerUsage",
        "TotalEnergyConsumption",
        "Temperature",
        "TemperatureThreshold",
        "EnforcedPowerLimit",
        "Name",
        "ComputeRunningProcesses",
    ]
    return SimpleNamespace(
        NVMLError=_NvmlError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        NVML_TEMPERATURE_THRESHOLD_SLOWDOWN=1,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlSystemGetDriverVersion=lambda: "580.65.06",
        nvmlDeviceGetHandleByIndex=lambda index: f"gpu {index}",
        nvmlDeviceGetHandleByUUID=lambda uuid: f"gpu {uuid.decode()}",
        **{f"nvmlDeviceGet{name}": answer(name) for name in names},
    )


_DESKTOP = {
    "Name": "NVIDIA RTX 4000",
    "ClockInfo": 1980,
    "PowerUsage": 71_500,
    "TotalEnergyConsumption": 1_000_000,
    "Temperature": 61,
    "TemperatureThreshold": 90,
    "EnforcedPowerLimit": 130_000,
    "CurrentClocksEventReasons": 0,
    "ComputeRunningProcesses": [SimpleNamespace(pid=os.getpid())],
}


def _nvml_source(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> NvmlSource:
    monkeypatch.setitem(sys.modules, "pynvml", _fake_nvml(**answers))
    source = NvmlSource.find()
    assert source is not None
    return source


def test_a_gpu_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    source = _nvml_source(monkeypatch, **_DESKTOP)
    facts = source.describe()
    assert (facts["name"], facts["driver"], facts["power_limit_w"]) == (
        "NVIDIA RTX 4000",
        "580.65.06",
        130,
    )
    assert facts["throttled_by"] == []
    values = source.read()
    finding = _judge(source, values, values | {"energy_j": 1065.0}, values | {"energy_j": 1130.0})
    assert finding.flags == ()
    assert finding.power_w == pytest.approx(65.0)  # by the counter, not by the samples


def test_a_gpu_without_energy_counter_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {k: v for k, v in _DESKTOP.items() if k != "TotalEnergyConsumption"}
    source = _nvml_source(monkeypatch, **answers)
    values = source.read()
    assert _judge(source, values, values).power_w == pytest.approx(71.5)


def test_a_gpu_that_throttles(monkeypatch: pytest.MonkeyPatch) -> None:
    source = _nvml_source(monkeypatch, **_DESKTOP)
    fine = source.read()
    hot = fine | {"reasons": float(0x20 | 0x4), "celsius": 88.0, "clock_mhz": 1400.0}
    idle = fine | {"reasons": float(0x1)}  # idle is no trouble
    flags = _judge(source, fine, hot, idle, fine).flags
    assert flags == (
        "the GPU's clock moved between 1400 and 1980 MHz while timing",
        "the GPU throttled: power cap, in 1 of 3 samples",
        "the GPU throttled: heat, in 1 of 3 samples",
        "the GPU was near its heat limit: 88 of 90 °C",
    )


def test_a_stranger_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = [SimpleNamespace(pid=os.getppid()), SimpleNamespace(pid=2**22 + 7)]
    source = _nvml_source(monkeypatch, **{**_DESKTOP, "ComputeRunningProcesses": strangers})
    values = source.read()
    assert values["foreign_processes"] == 1  # the other cannot be seen from here
    assert "another process used the GPU" in _judge(source, values, values).flags


def test_an_orin_answers_its_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    source = _nvml_source(monkeypatch, Name="Orin (nvgpu)")
    assert source.read() == {}
    assert source.describe() == {"name": "Orin (nvgpu)", "driver": "580.65.06"}
    finding = _judge(source, source.read(), source.read())
    assert (finding.flags, finding.power_w) == ((), None)


def test_the_gpu_that_cuda_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, expected in (("", "gpu 0"), ("3,1", "gpu 3"), ("GPU-8f2", "gpu GPU-8f2")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert _nvml_source(monkeypatch, **_DESKTOP)._handle == expected


def test_no_package_and_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert NvmlSource.find() is None

    def refuse() -> None:
        raise _NvmlError("Driver Not Loaded")

    broken = _fake_nvml(**_DESKTOP)
    broken.nvmlInit = refuse
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert NvmlSource.find() is None
