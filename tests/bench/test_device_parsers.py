"""What the vendors' tools print, on outputs recorded from real boards (see recorded/jetson)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekd_bench.device.cpu_model import parse_cpu_model
from edgekd_bench.device.jetson_clocks import parse_jetson_clocks, summarise
from edgekd_bench.device.jetson_release import (
    jetpack_of,
    parse_package_versions,
    parse_tegra_release,
)
from edgekd_bench.device.nvpmodel import parse_nvpmodel, parse_power_modes
from edgekd_bench.device.power_rails import total_power
from edgekd_bench.device.tegrastats import TegrastatsLine, parse_tegrastats

RECORDED = Path(__file__).parent / "recorded/jetson"


def _recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def _line(name: str, index: int = 0) -> TegrastatsLine:
    parsed = parse_tegrastats(_recorded(name).splitlines()[index])
    assert parsed is not None
    return parsed


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*/tegrastats*.txt")), ids=lambda p: p.name)
def test_every_recorded_line_has_power_and_cores(path: Path) -> None:
    for text in path.read_text(encoding="utf-8").splitlines():
        line = parse_tegrastats(text)
        assert line is not None
        assert total_power(line.rails_mw) is not None
        assert len(line.cpu_percent) == len(line.cpu_mhz) == text.split("]")[0].count("%")
        assert not {"RAM", "SWAP", "APE"} & set(line.rails_mw)
        assert all(0 < celsius < 120 for celsius in line.temperatures_c.values())


def test_orin_nano_without_root_has_no_gpu_clock() -> None:
    line = _line("orin_nano/tegrastats_r36.txt", 1)
    assert line.cpu_percent == (0.0,) * 6
    assert line.cpu_mhz == (1344,) * 6
    assert (line.gpu_percent, line.gpu_mhz, line.memory_mhz) == (0.0, None, None)
    assert line.ram_used_mb == 779
    assert line.temperatures_c["tj"] == 50.562
    assert line.rails_mw == {"VDD_IN": 6626, "VDD_CPU_GPU_CV": 1228, "VDD_SOC": 2380}


def test_release_39_prints_now_mean_and_peak() -> None:
    line = _line("orin_nano/tegrastats_r39_root.txt", 1)
    assert line.rails_mw["VDD_IN"] == 3462  # not the mean 3522, not the peak 3582
    assert line.temperatures_c["cpu"] == 45.375
    assert (line.gpu_percent, line.gpu_mhz, line.memory_mhz) == (0.0, 305, 665)


def test_orin_nx_under_load() -> None:
    lines = [_line("orin_nx/tegrastats_r36.txt", index) for index in range(4)]
    assert [line.gpu_percent for line in lines] == [37, 80, 24, 67]
    assert [line.rails_mw["VDD_IN"] for line in lines] == [10033, 10033, 9448, 8296]
    assert lines[0].temperatures_c["cv2"] == 47


def test_agx_orin_prints_capitals_and_board_sensors_on_older_releases() -> None:
    line = _line("agx_orin/tegrastats_r35_root.txt")
    assert line.temperatures_c["cpu"] == line.temperatures_c["tj"] == 77.281
    assert line.temperatures_c["tboard"] == 62
    assert (line.gpu_percent, line.gpu_mhz) == (14, 407)
    assert line.rails_mw["VDDQ_VDD2_1V8AO"] == 1091


def test_thor_has_three_gpu_clusters_and_no_load() -> None:
    line = _line("agx_thor/tegrastats_r39_root.txt")
    assert (line.gpu_percent, line.gpu_mhz, line.memory_mhz) == (None, 314, 3200)
    assert len(line.cpu_percent) == 14
    assert _line("agx_thor/tegrastats_r38.txt").gpu_mhz is None


def test_a_sleeping_gpu_reads_below_zero() -> None:
    assert _line("agx_thor/tegrastats_gpu_asleep.txt").rails_mw["VDD_GPU"] == -392


def test_cores_that_are_off_and_a_clock_for_all() -> None:
    line = parse_tegrastats("RAM 1/2MB CPU [12%@1190,off,off] PMIC@100C thermal@-256C")
    assert line is not None
    assert (line.cpu_percent, line.cpu_mhz) == ((12, None, None), (1190,))
    assert line.temperatures_c == {}
    older = parse_tegrastats("RAM 1/2MB CPU [3%,off,5%]@1190")
    assert older is not None
    assert (older.cpu_percent, older.cpu_mhz) == ((3, None, 5), (1190, 1190))


def test_another_text_is_no_line() -> None:
    assert parse_tegrastats("Run this script as a root user") is None


@pytest.mark.parametrize(
    ("name", "watts", "scope"),
    [
        ("orin_nano/tegrastats_r36.txt", 4.761, "module input (VDD_IN)"),
        ("orin_nx/tegrastats_r36.txt", 10.033, "module input (VDD_IN)"),
        (
            "agx_orin/tegrastats_r35_root.txt",  # the DDR rail is part of VIN_SYS_5V0
            3.150 + 14.312 + 4.968,
            "module inputs (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0)",
        ),
        ("agx_thor/tegrastats_r38.txt", 28.576, "board input (VIN)"),
        (
            "agx_thor/tegrastats_r39_root.txt",
            4.925 + 7.953 + 6.667,
            "module inputs (VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0)",
        ),
    ],
)
def test_the_whole_is_neither_counted_twice_nor_left_out(
    name: str, watts: float, scope: str
) -> None:
    total = total_power(_line(name).rails_mw)
    assert total is not None
    assert total.watts == pytest.approx(watts)
    assert total.scope == scope


def test_unknown_rails_make_no_whole() -> None:
    assert total_power({"VDD_SOMETHING": 5000, "VDD_SOC": 1000}) is None


@pytest.mark.parametrize(
    ("board", "mode", "number"),
    [
        ("orin_nano", "25W", 1),
        ("orin_nx", "MAXN_SUPER", 0),
        ("agx_orin", "MAXN", 0),
        ("agx_thor", "120W", 1),
    ],
)
def test_power_mode(board: str, mode: str, number: int) -> None:
    assert parse_nvpmodel(_recorded(f"{board}/nvpmodel_q.txt")) == {"mode": mode, "id": number}


def test_a_power_mode_without_number_and_no_power_mode() -> None:
    assert parse_nvpmodel("NVPM WARN: x\nNV Power Mode: MODE_15W\n") == {"mode": "MODE_15W"}
    assert parse_nvpmodel("NVPM ERROR: optMask is 1, no request for power mode\n") == {}


def test_the_same_mode_has_another_number_on_another_board() -> None:
    nano = parse_power_modes(_recorded("orin_nano/nvpmodel_conf.txt"))
    other = parse_power_modes(_recorded("orin_nx/nvpmodel_conf.txt"))
    assert nano == {0: "15W", 1: "25W", 2: "MAXN_SUPER"}
    assert other[0] == "MAXN_SUPER"
    assert len(other) == 5  # neither the comment nor PM_CONFIG is a mode


@pytest.mark.parametrize(
    ("board", "soc", "fixed", "cpu", "gpu"),
    [
        ("orin_nano", "tegra234", False, (730, 1344), ("GPU", 306, 918)),
        ("orin_nx", "tegra234", False, (730, 1510), ("GPU", 306, 625)),
        ("agx_orin", "tegra234", True, (2202, 2202), ("GPU", 1300, 1300)),
        ("agx_thor", "tegra264", True, (2601, 2601), ("gpu-gpc-0", 1575, 1575)),
    ],
)
def test_jetson_clocks(
    board: str, soc: str, fixed: bool, cpu: tuple[int, int], gpu: tuple[str, int, int]
) -> None:
    facts: dict[str, Any] = summarise(_recorded(f"{board}/jetson_clocks_show.txt"))
    assert (facts["soc"], facts["fixed"]) == (soc, fixed)
    assert (facts["cpu"]["min_mhz"], facts["cpu"]["max_mhz"]) == cpu
    name, low, high = gpu
    assert (facts[name]["min_mhz"], facts[name]["max_mhz"]) == (low, high)


def test_memory_may_be_fixed_by_an_override_and_engines_may_be_off() -> None:
    clocks = {c.name: c for c in parse_jetson_clocks(_recorded("agx_thor/jetson_clocks_show.txt"))}
    assert clocks["EMC"].fixed
    assert clocks["EMC"].min_mhz < clocks["EMC"].max_mhz
    assert not clocks["PVA0_VPS0"].online
    assert "PVA0_VPS0" not in summarise(_recorded("agx_thor/jetson_clocks_show.txt"))


def test_a_refusal_is_no_clock() -> None:
    assert summarise("Error: Run this script(/usr/bin/jetson_clocks) as a root user\n") == {}


@pytest.mark.parametrize(
    ("board", "l4t", "jetpack"),
    [
        ("orin_nano", "39.2.1", "7.2.1"),  # says the package
        ("orin_nx", "36.4.4", "6.2.1"),  # says the package
        ("agx_orin", "39.2.0", "7.2"),  # implied by the release
        ("agx_thor", "38.4.0", "7.1"),  # implied by the release
    ],
)
def test_release(board: str, l4t: str, jetpack: str) -> None:
    assert parse_tegra_release(_recorded(f"{board}/nv_tegra_release.txt")) == l4t
    packages = RECORDED / board / "dpkg_query.txt"
    text = packages.read_text(encoding="utf-8") if packages.exists() else ""
    assert jetpack_of(l4t, parse_package_versions(text)) == jetpack


def test_an_unknown_release_implies_nothing() -> None:
    assert jetpack_of("99.1.0", {}) is None
    assert jetpack_of(None, {}) is None
    assert parse_tegra_release("Ubuntu 24.04") is None


def test_cpu_model() -> None:
    assert parse_cpu_model("processor\t: 0\nmodel name\t: AMD EPYC\n" * 2) == "AMD EPYC"
    assert parse_cpu_model("Architecture: aarch64\nModel name:   Cortex-A78AE\n") == "Cortex-A78AE"
    assert parse_cpu_model("Model name: Cortex-A55\nModel name: Cortex-A76\n") == (
        "Cortex-A55 + Cortex-A76"
    )
    assert parse_cpu_model("Model name:  -\nCPU part\t: 0xd42\n") is None
