"""The TensorRT runner on a fake device: every step in its order, and nothing left behind.

The fake really copies bytes and computes, but only when somebody waits; so a result that is right
proves that memory, order and waiting are right.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bench.conftest import SIDE, manifest
from bench.fake_cuda import NETWORK_MS, Error, FakeCuda, FakeGraphDriver, Stream
from bench.fake_tensorrt import (
    MAGIC,
    EngineSpec,
    ExecutionContext,
    FakeEngine,
    RtxExecutionContext,
    fake_tensorrt,
)
from bench.synthetic_sets import NAMES

from edgekd_bench import engine_fit, tensorrt_runner
from edgekd_bench.cuda_driver import CudaGpu
from edgekd_bench.engine_fit import platform_tag
from edgekd_bench.engine_header import split_engine
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import EngineBuild, write_manifest
from edgekd_bench.runner import RunnerOptions, open_runner
from edgekd_bench.tensorrt_engine import CudaTools, LoadedEngine
from edgekd_bench.tensorrt_lane import Lane

ANCHORS = 84
ON_GPU = RunnerOptions(device="cuda")
ONE_CALL = ["htod", "record", "launch", "record", "dtoh", "synchronize"]


def network(batch: np.ndarray) -> np.ndarray:
    """(B, 3, S, S) → (B, 4 + nc, A): something that depends on every pixel's sum."""
    sums = batch.astype(np.float64).sum(axis=(1, 2, 3))
    steps = np.arange((4 + len(NAMES)) * ANCHORS).reshape(4 + len(NAMES), ANCHORS)
    return sums[:, None, None] + steps / 100


@dataclass
class Machine:
    """A fake machine with an engine file that fits it."""

    cuda: FakeCuda
    graphs: FakeGraphDriver
    spec: EngineSpec
    engine: Path

    def assert_nothing_left(self) -> None:
        assert not self.cuda.memory, "device memory was not freed"
        assert all(allocation.freed for allocation in self.cuda.pinned)
        assert not self.graphs.alive
        assert not self.cuda.contexts and self.cuda.retained == 0


def spec_of(batch: int = 1, **changes: object) -> EngineSpec:
    shape, output = (batch, 3, SIDE, SIDE), (batch, 4 + len(NAMES), ANCHORS)
    return EngineSpec(network, shape, output, **changes)  # type: ignore[arg-type]


def machine_with(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spec: EngineSpec,
    *,
    builder: str = "tensorrt",
    memory_limit: int = 1 << 30,
    **build: object,
) -> Machine:
    cuda = FakeCuda(memory_limit)
    graphs = FakeGraphDriver(cuda)
    trt = fake_tensorrt(cuda, spec, is_rtx=builder == "tensorrt-rtx")
    pycuda = ModuleType("pycuda")
    for name, module in (
        (trt.__name__, trt),
        ("pycuda", pycuda),
        ("pycuda.driver", cuda.driver()),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(tensorrt_runner, "load_driver", lambda: graphs)
    monkeypatch.setattr(engine_fit, "find_gpu", lambda: CudaGpu("Fake Orin", "8.7", 8.0))
    engine = tmp_path / "m.engine"
    engine.write_bytes(MAGIC)
    facts = {
        "builder": builder,
        "version": "10.3.0",
        "platform": platform_tag(),
        "compute_capability": "8.7",
        "batch": (1, 1, spec.max_batch),
    }
    write_manifest(
        engine,
        manifest(kind="engine", engine=EngineBuild.model_validate({**facts, **build})),
    )
    return Machine(cuda, graphs, spec, engine)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return machine_with(tmp_path, monkeypatch, spec_of())


def batches(count: int, size: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((size, 3, SIDE, SIDE), np.float32) for _ in range(count)]


def test_results_are_the_networks_own_and_stay(machine: Machine) -> None:
    first, second = batches(2)
    with open_runner(machine.engine, options=ON_GPU) as runner:
        kept = runner.forward(first)
        other = runner.forward(second)
        assert kept.dtype == np.float32 and kept.shape == (1, 4 + len(NAMES), ANCHORS)
        np.testing.assert_allclose(kept, network(first), rtol=1e-6)
        np.testing.assert_allclose(other, network(second), rtol=1e-6)
        assert runner.info.backend == "tensorrt" and runner.info.device == "Fake Orin"
        assert runner.info.notes == () and runner.info.first_call_ms is not None
    machine.assert_nothing_left()


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_the_device_clock_is_the_network_alone(machine: Machine, cuda_graph: bool) -> None:
    options = RunnerOptions(device="cuda", cuda_graph=cuda_graph)
    with open_runner(machine.engine, options=options) as runner:
        assert runner.forward_timed(batches(1)[0]).device_ms == NETWORK_MS
        assert runner.info.notes == ()
    machine.assert_nothing_left()


def test_a_call_is_copy_graph_copy_and_one_wait(machine: Machine) -> None:
    with open_runner(machine.engine, options=ON_GPU) as runner:
        opening = list(machine.cuda.journal)
        runner.forward(batches(1)[0])
        assert machine.cuda.journal[len(opening) :] == ONE_CALL
    # Opened with one plain call, and only then captured.
    plain = [step.replace("launch", "execute") for step in ONE_CALL]
    assert opening == ["deserialize", *plain, "execute"]


def test_without_a_graph_kernels_are_enqueued_and_the_row_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_with(tmp_path, monkeypatch, spec_of(can_capture=False))
    batch = batches(1)[0]
    with open_runner(machine.engine, options=ON_GPU) as runner:
        np.testing.assert_allclose(runner.forward(batch), network(batch), rtol=1e-6)
        assert "launch" not in machine.cuda.journal
        assert "no CUDA graph could be captured" in runner.info.notes[0]
    machine.assert_nothing_left()


@pytest.mark.parametrize("can_capture", [True, False])
def test_rtx_is_asked_before_it_is_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_capture: bool
) -> None:
    machine = machine_with(
        tmp_path, monkeypatch, spec_of(can_capture=can_capture), builder="tensorrt-rtx"
    )
    batch = batches(1)[0]
    with open_runner(machine.engine, options=ON_GPU) as runner:
        np.testing.assert_allclose(runner.forward(batch), network(batch), rtol=1e-6)
        assert ("launch" in machine.cuda.journal) is can_capture
    machine.assert_nothing_left()


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_many_images_overlap_and_come_back_in_order(machine: Machine, count: int) -> None:
    given = batches(count)
    with open_runner(machine.engine, options=ON_GPU) as runner:
        assert runner.in_flight == 2
        before = len(machine.cuda.journal)
        results = runner.forward_all(given)
        steps = machine.cuda.journal[before:]
        for batch, result in zip(given, results, strict=True):
            np.testing.assert_allclose(result, network(batch), rtol=1e-6)
    if count > 1:
        assert steps[: steps.index("synchronize")].count("htod") == 2, "the second waited"
    machine.assert_nothing_left()


def test_one_lane_must_do_where_a_second_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_with(tmp_path, monkeypatch, spec_of(num_contexts=1))
    given = batches(3)
    with open_runner(machine.engine, options=ON_GPU) as runner:
        assert runner.in_flight == 1
        for batch, result in zip(given, runner.forward_all(given), strict=True):
            np.testing.assert_allclose(result, network(batch), rtol=1e-6)
    machine.assert_nothing_left()


def test_two_models_take_turns_in_one_context(machine: Machine) -> None:
    first, second = batches(2)
    one, two = (open_runner(machine.engine, options=ON_GPU) for _ in range(2))
    np.testing.assert_allclose(one.forward(first), network(first), rtol=1e-6)
    np.testing.assert_allclose(two.forward(second), network(second), rtol=1e-6)
    one.close()
    np.testing.assert_allclose(two.forward(first), network(first), rtol=1e-6)
    two.close()
    machine.assert_nothing_left()


def test_half_precision_inputs_are_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_with(tmp_path, monkeypatch, spec_of(dtype=np.float16))
    batch = batches(1)[0] / 1000  # sums that fp16 can hold
    with open_runner(machine.engine, options=ON_GPU) as runner:
        result = runner.forward(batch)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, network(batch), rtol=1e-2)


def test_a_dynamic_engine_runs_every_batch_of_its_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_with(tmp_path, monkeypatch, spec_of(batch=-1, max_batch=4))
    batch = batches(1, size=3)[0]
    with open_runner(machine.engine, options=RunnerOptions(device="cuda", batch=3)) as runner:
        assert runner.info.batch is None
        np.testing.assert_allclose(runner.forward(batch), network(batch), rtol=1e-6)
    with pytest.raises(InputError, match=r"m\.engine: was built for inputs from \(1, 3.*\(4, 3"):
        open_runner(machine.engine, options=RunnerOptions(device="cuda", batch=5))
    machine.assert_nothing_left()


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        ({"version": "10.13.0"}, "built by TensorRT 10.13.0 .* this machine has TensorRT 10.3.0"),
        ({"compute_capability": "8.9"}, "SM 8.9 .* SM 8.7"),
        ({"platform": "linux-sparc"}, "linux-sparc"),
        ({"builder": "tensorrt-rtx", "version": "0.9"}, "built by TensorRT-RTX 0.9"),
    ],
)
def test_an_engine_for_another_machine_never_reaches_tensorrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: dict[str, str], reason: str
) -> None:
    machine = machine_with(tmp_path, monkeypatch, spec_of(), **build)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=reason) as caught:
        open_runner(machine.engine, options=ON_GPU)
    assert "\n" not in str(caught.value)
    assert machine.cuda.journal == [] and not machine.cuda.initialised


def test_no_gpu_and_no_library_are_one_line(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="tensorrt runs on cuda, not on cpu"):
        open_runner(machine.engine)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pycuda.driver", None)
        with pytest.raises(InputError, match="needs pycuda"):
            open_runner(machine.engine, options=ON_GPU)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(InputError, match="this machine has no TensorRT"):
            open_runner(machine.engine, options=ON_GPU)
    monkeypatch.setattr(engine_fit, "find_gpu", lambda: None)
    with pytest.raises(InputError, match="no NVIDIA GPU"):
        open_runner(machine.engine, options=ON_GPU)


def test_what_tensorrt_says_about_a_bad_engine_is_passed_on(machine: Machine) -> None:
    machine.engine.write_bytes(b"something else")
    fitting = EngineBuild(
        builder="tensorrt", version="10.3.0", platform=platform_tag(),
        compute_capability="8.7", batch=(1, 1, 1),
    )  # fmt: skip
    write_manifest(machine.engine, manifest(kind="engine", engine=fitting))
    with pytest.raises(InputError, match=r"cannot load it \(magic tag does not match\)") as caught:
        open_runner(machine.engine, options=ON_GPU)
    assert "\n" not in str(caught.value)
    machine.assert_nothing_left()


@pytest.mark.parametrize("limit", [0, 3 * SIDE * SIDE * 4])
def test_too_little_memory_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    machine = machine_with(tmp_path, monkeypatch, spec_of(), memory_limit=limit)
    with pytest.raises(InputError, match=r"m\.engine: .*out of memory"):
        open_runner(machine.engine, options=ON_GPU)
    machine.assert_nothing_left()


def test_too_little_memory_for_a_second_lane_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_with(tmp_path, monkeypatch, spec_of(), memory_limit=3 * SIDE * SIDE * 4 * 2)
    with open_runner(machine.engine, options=ON_GPU) as runner:
        assert runner.in_flight == 1
        batch = batches(1)[0]
        np.testing.assert_allclose(runner.forward_all([batch])[0], network(batch), rtol=1e-6)
    machine.assert_nothing_left()


@pytest.mark.usefixtures("machine")
def test_an_engine_of_ultralytics_needs_no_manifest(tmp_path: Path) -> None:
    header = {
        "names": {str(k): v for k, v in NAMES.items()}, "stride": 32, "imgsz": [SIDE, SIDE],
        "task": "detect", "batch": 1, "end2end": False, "args": {"half": True},
    }  # fmt: skip
    text = json.dumps(header).encode()
    path = tmp_path / "theirs.engine"
    path.write_bytes(len(text).to_bytes(4, "little") + text + MAGIC)
    batch = batches(1)[0]
    with open_runner(path, options=ON_GPU) as runner:
        np.testing.assert_allclose(runner.forward(batch), network(batch), rtol=1e-6)
        info = runner.info
    assert (info.names, info.precision, info.stride) == (NAMES, "fp16", 32)
    assert (info.init, info.num_params, info.image_size) == ("other", 0, SIDE)


@pytest.mark.parametrize("content", [b"", b"abc", b"\x05\0\0\0hello!", b"\x02\0\0\0[]rest", MAGIC])
def test_bytes_that_are_no_header_belong_to_the_engine(content: bytes) -> None:
    metadata, engine = split_engine(content)
    assert metadata == {} and bytes(engine) == content


@pytest.mark.usefixtures("machine")
def test_an_engine_that_says_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.engine"
    path.write_bytes(MAGIC)
    with pytest.raises(InputError, match=r"bare\.engine: has no manifest"):
        open_runner(path, options=ON_GPU)


# The fake must be able to fail, or the tests above prove nothing.


def _lane() -> Lane:
    trt, cuda = sys.modules["tensorrt"], sys.modules["pycuda.driver"]
    engine = LoadedEngine(CudaTools(trt, cuda, None), manifest(), memoryview(MAGIC))
    return Lane(engine, (1, 3, SIDE, SIDE))


@pytest.mark.usefixtures("machine")
def test_the_fake_shows_a_missing_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = _lane()
    monkeypatch.setattr(Stream, "synchronize", lambda _: None)
    lane.submit(batches(1)[0])
    with pytest.raises(Error, match="device not ready"):
        lane.collect()
    assert not lane._output.any(), "nothing may have been computed yet"


@pytest.mark.usefixtures("machine")
def test_the_fake_shows_a_buffer_that_is_overwritten_too_early() -> None:
    lane = _lane()
    first, second = batches(2)
    lane.submit(first)
    lane.submit(second)  # without waiting for the first: its input is gone
    np.testing.assert_allclose(lane.collect().output, network(second), rtol=1e-6)


def test_the_fake_shows_missing_addresses_freed_memory_and_plain_arrays(machine: Machine) -> None:
    lane = _lane()
    context = machine.spec.opened[0].create_execution_context()
    assert context is not None
    assert not context.execute_async_v3(next(iter(machine.cuda.streams)))
    driver = sys.modules["pycuda.driver"]
    buffer, stream = driver.mem_alloc(16), driver.Stream()
    with pytest.raises(Error, match="page-locked"):
        driver.memcpy_htod_async(buffer, np.zeros(4, np.float32), stream)
    buffer.free()
    driver.memcpy_htod_async(buffer, driver.pagelocked_empty((4,), np.float32), stream)
    with pytest.raises(Error, match="freed"):
        stream.synchronize()
    lane.close()
    with pytest.raises(Error, match="was freed"):
        driver.memcpy_htod_async(buffer, lane._input, stream)


def test_the_fake_has_no_name_that_tensorrt_lacks() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="compares the fake with the real bindings")
    fake = fake_tensorrt(FakeCuda(), spec_of())
    pairs = (
        (ExecutionContext, trt.IExecutionContext),
        (RtxExecutionContext, trt.IExecutionContext),
        (FakeEngine, trt.ICudaEngine),
        (fake.Runtime, trt.Runtime),
        (fake.ILogger, trt.ILogger),
        (fake.TensorIOMode, trt.TensorIOMode),
    )
    for mine, real in pairs:
        names = {name for name in vars(mine) if not name.startswith("_")}
        assert names - {"num_contexts"} <= set(dir(real)), mine
    assert set(vars(fake)) - {"__annotations__"} <= set(dir(trt)) | {"__builtins__"}
