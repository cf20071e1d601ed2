"""Which engine is let near TensorRT on which machine, and what the refusal says."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from edgekd_bench.cuda_driver import CudaGpu, find_gpu, read_gpu
from edgekd_bench.engine_fit import (
    MachineGpu,
    check_engine_fits,
    platform_tag,
    read_engine_manifest,
    same_version,
    this_machine,
)
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import EngineBuild, Manifest, write_manifest

NATIVE = EngineBuild(
    builder="tensorrt",
    version="10.3.0",
    platform="linux-aarch64",
    compute_capability="8.7",
    batch=(1, 1, 1),
)
PORTABLE = EngineBuild(
    builder="tensorrt-rtx",
    version="1.7.1.116",
    platform="linux-x86_64",
    compute_capability=None,
    batch=(1, 1, 1),
)
JETSON = MachineGpu("tensorrt", "10.3.0", "8.7", "linux-aarch64")
DESKTOP = MachineGpu("tensorrt-rtx", "1.7.1.116", "8.9", "linux-x86_64")


def manifest_of(build: EngineBuild | None, kind: Any = "engine") -> Manifest:
    return Manifest(kind=kind, names={0: "die"}, image_size=64, stride=32, engine=build)


def changed(build: EngineBuild, **changes: Any) -> EngineBuild:
    return build.model_copy(update=changes)


@pytest.mark.parametrize(
    ("build", "machine"),
    [
        (NATIVE, JETSON),
        (NATIVE, MachineGpu("tensorrt", "10.3.0.30", "8.7", "linux-aarch64")),
        (PORTABLE, DESKTOP),
        (PORTABLE, MachineGpu("tensorrt-rtx", "1.7.1.116", "12.1", "windows-x86_64")),
        (changed(PORTABLE, compute_capability="8.9"), DESKTOP),
    ],
)
def test_what_fits_passes(build: EngineBuild, machine: MachineGpu) -> None:
    check_engine_fits(Path("d.engine"), manifest_of(build), machine)


@pytest.mark.parametrize(
    ("build", "machine"),
    [
        (NATIVE, MachineGpu("tensorrt", "10.3.1", "8.7", "linux-aarch64")),
        (NATIVE, MachineGpu("tensorrt", "11.3.0", "8.7", "linux-aarch64")),
        (changed(NATIVE, version="10.13.2.6"), MachineGpu("tensorrt", "10.13.3.9", "8.7", "x-y")),
        (NATIVE, MachineGpu("tensorrt", "10.3.0", "8.6", "linux-aarch64")),
        (NATIVE, MachineGpu("tensorrt", "10.3.0", "8.7", "linux-x86_64")),
        (NATIVE, MachineGpu("tensorrt", "10.3.0", None, "linux-aarch64")),
        (NATIVE, MachineGpu("tensorrt", None, "8.7", "linux-aarch64")),
        (NATIVE, MachineGpu("tensorrt-rtx", "10.3.0", "8.7", "linux-aarch64")),
        (changed(NATIVE, compute_capability=None), JETSON),
        (PORTABLE, MachineGpu("tensorrt-rtx", "1.7.1.116", "7.5", "linux-x86_64")),
        (PORTABLE, MachineGpu("tensorrt-rtx", "1.6.1.120", "8.9", "linux-x86_64")),
        (PORTABLE, MachineGpu("tensorrt-rtx", "1.7.1.116", "12.1", "linux-aarch64")),
        (changed(PORTABLE, compute_capability="12.0"), DESKTOP),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(build: EngineBuild, machine: MachineGpu) -> None:
    with pytest.raises(InputError, match=r"d\.engine: engine built by .*; this machine") as caught:
        check_engine_fits(Path("d.engine"), manifest_of(build), machine)
    assert "\n" not in str(caught.value)


def test_both_sides_are_named() -> None:
    machine = MachineGpu("tensorrt", "10.13.2", "8.9", "linux-x86_64")
    with pytest.raises(InputError) as caught:
        check_engine_fits(Path("d.engine"), manifest_of(NATIVE), machine)
    assert (
        "engine built by TensorRT 10.3.0 for SM 8.7 (linux-aarch64); "
        "this machine has TensorRT 10.13.2, SM 8.9 (linux-x86_64)"
    ) in str(caught.value)
    bare = MachineGpu("tensorrt-rtx", None, None, "linux-x86_64")
    with pytest.raises(InputError, match="has no TensorRT-RTX, no NVIDIA GPU"):
        check_engine_fits(Path("d.engine"), manifest_of(PORTABLE), bare)


def test_an_engine_without_weights_never_runs() -> None:
    """TensorRT loads one without a word, and it answers zeros."""
    stripped = changed(NATIVE, options={"strip_weights": True})
    with pytest.raises(InputError, match="without weights"):
        check_engine_fits(Path("d.engine"), manifest_of(stripped), JETSON)


def test_an_engine_needs_its_manifest(tmp_path: Path) -> None:
    engine = tmp_path / "d.engine"
    with pytest.raises(InputError, match="no such engine"):
        read_engine_manifest(engine)
    engine.write_bytes(b"engine")
    with pytest.raises(InputError, match=r"no manifest d\.engine\.json beside it"):
        read_engine_manifest(engine)
    for wrong in (manifest_of(NATIVE, "onnx"), manifest_of(None)):
        write_manifest(engine, wrong)
        with pytest.raises(InputError, match="describes a file of kind"):
            read_engine_manifest(engine)
    write_manifest(engine, manifest_of(NATIVE))
    assert read_engine_manifest(engine).engine == NATIVE
    engine.write_bytes(b"another engine")
    with pytest.raises(InputError, match="SHA-256"):
        read_engine_manifest(engine)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("10.3.0", "10.3.0", True),
        ("10.3.0", "10.3.0.26", True),
        ("10.3.0", "10.30.0", False),
        ("10.13.2.6", "10.13.3.9", False),
        ("1.7.1.116", "1.7.1.117", False),
    ],
)
def test_versions_agree_in_every_number_both_give(first: str, second: str, same: bool) -> None:
    assert same_version(first, second) is same
    assert same_version(second, first) is same


class FakeDriver:
    """The few functions of libcuda that are called."""

    def __init__(self, gpus: int = 1, starts: bool = True) -> None:
        self.gpus, self.starts = gpus, starts

    def cuInit(self, _: int) -> int:  # noqa: N802 - the driver's name
        return 0 if self.starts else 100

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.gpus
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, *_: Any) -> int:  # noqa: N802
        name.value = b"Orin"
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, _: Any) -> int:  # noqa: N802
        memory._obj.value = 8_000_000_000
        return 0

    def cuDeviceGetAttribute(self, value: Any, number: int, _: Any) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 7}[number]
        return 0


def test_the_driver_is_asked_for_the_gpu() -> None:
    assert read_gpu(FakeDriver()) == CudaGpu("Orin", "8.7", 8.0)
    assert read_gpu(FakeDriver(gpus=0)) is None
    assert read_gpu(FakeDriver(starts=False)) is None


def test_this_machine_is_described_from_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd_bench.engine_fit.find_gpu", lambda: CudaGpu("Orin", "8.7", 8.0))
    machine = this_machine("tensorrt", "10.3.0")
    assert (machine.compute_capability, machine.device) == ("8.7", "Orin")
    assert machine.platform == platform_tag()
    monkeypatch.setattr("edgekd_bench.engine_fit.find_gpu", lambda: None)
    assert "no NVIDIA GPU" in str(this_machine("tensorrt", None))


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert find_gpu() is None
