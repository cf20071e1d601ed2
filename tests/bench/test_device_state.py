"""What a record says about the machine, on machines that stand in for others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgekd_bench import device_state
from edgekd_bench.device import jetson_clocks, sources
from edgekd_bench.device.jetson_release import describe_jetson_release
from edgekd_bench.device.nvpmodel import describe_power_mode
from edgekd_bench.device_state import describe_environment, device_name

RECORDED = Path(__file__).parent / "recorded/jetson"


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of an Orin NX: its files, and its tools first in PATH."""
    recorded = RECORDED / "orin_nx"
    (tmp_path / "etc").mkdir()
    for source, target in (
        ("nv_tegra_release.txt", "etc/nv_tegra_release"),
        ("nvpmodel_conf.txt", "etc/nvpmodel.conf"),
    ):
        (tmp_path / target).write_bytes((recorded / source).read_bytes())
    tools = tmp_path / "bin"
    tools.mkdir()
    version = r'printf "nvidia-jetpack\t6.2.1+b38\n"'
    for name, body in (
        ("nvpmodel", f"cat '{recorded}/nvpmodel_q.txt'"),
        ("jetson_clocks", f"cat '{recorded}/jetson_clocks_show.txt'"),
        # Of packages that it does not know dpkg-query says so, and fails.
        ("dpkg-query", f'case "$*" in *nvidia-jetpack) {version};; *) exit 1;; esac'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    return tmp_path


def test_a_jetson_says_what_it_is_and_how_it_is_set(
    jetson: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert describe_jetson_release(jetson) == {"l4t": "36.4.4", "jetpack": "6.2.1"}
    assert describe_power_mode(jetson) == {
        "mode": "MAXN_SUPER",
        "id": 0,
        "modes": {0: "MAXN_SUPER", 1: "10W", 2: "15W", 3: "25W", 4: "40W"},
    }
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert jetson_clocks.describe_jetson_clocks()["fixed"] is False
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # the tool would only complain
    assert jetson_clocks.describe_jetson_clocks() == {}


def test_the_environment_of_a_jetson(jetson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        device_state, "describe_jetson_release", lambda: describe_jetson_release(jetson)
    )
    model = jetson / "model"
    model.write_bytes(b"NVIDIA Jetson Orin NX Engineering Reference Developer Kit\x00")
    monkeypatch.setattr(device_state, "_BOARD", model)
    environment = json.loads(json.dumps(describe_environment(4)))
    assert environment["device_name"] == "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
    assert environment["jetson"]["jetpack"] == "6.2.1"
    assert environment["jetson"]["power_mode"]["mode"] == "MAXN_SUPER"


def test_the_environment_of_this_machine() -> None:
    environment = describe_environment(None)
    assert environment["device_name"]
    assert environment["cpu"] in environment["device_name"] or "board" in environment
    assert "threads" not in environment  # what is not known is not there
    assert "jetson" not in environment or environment["jetson"]["l4t"]


def test_names_in_a_table_of_several_devices() -> None:
    assert device_name("Raspberry Pi 5", "Cortex-A76", []) == "Raspberry Pi 5"
    gpus = ["NVIDIA H100 80GB HBM3, 580.65.06"]
    assert device_name(None, "AMD EPYC", gpus) == "NVIDIA H100 80GB HBM3, AMD EPYC"
    assert device_name(None, "AMD EPYC", []) == "AMD EPYC"
    assert device_name(None, None, []) == "unknown device"


def test_a_cpu_run_is_not_charged_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle GPU's clock and power are no matter of a network on the processor."""
    monkeypatch.setattr(sources.GpuDevfreqSource, "find", lambda: pytest.fail("looked at the GPU"))
    monkeypatch.setattr(sources.NvmlSource, "find", lambda: pytest.fail("looked at the GPU"))
    assert sources.find_sources("cpu")[0].name == "cpu"
    monkeypatch.setattr(sources.GpuDevfreqSource, "find", lambda: None)
    monkeypatch.setattr(sources.NvmlSource, "find", lambda: None)
    monkeypatch.setattr(sources.RaplSource, "find", lambda: pytest.fail("looked at the processor"))
    assert sources.find_sources("cuda")[0].name == "cpu"
