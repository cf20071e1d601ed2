"""The same code on TensorRT 10.3, 10.13, 10.16 and 11.4, and only what all of them have."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from export.tensorrt_fakes.fake_tensorrt import (
    ENGINE,
    NEW_CACHE,
    Behaviour,
    FakeBuilder,
    FakeConfig,
    FakeTensorRT,
    FakeTimingCache,
)

from edgekd_bench.cuda_driver import CudaGpu
from edgekd_bench.engine_fit import read_engine_manifest
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, Nms, read_manifest
from edgekd_export.tensorrt import EngineResult, TensorRTSettings, build_engine, plan
from edgekd_export.tensorrt.build_log import open_build_log
from edgekd_export.tensorrt.timing_cache import TimingCache, save_timing_cache

RELEASES = ["10_3", "10_13", "10_16", "11_4"]
ORIN = CudaGpu("Orin", "8.7", 8.0)
NAMES = {0: "bolt", 1: "nut", 2: "washer"}
DYNAMIC = (-1, 3, 64, 64)
# Asked for by name and used only where they exist; everything else must be in every release.
PROBED = {"ComputeCapability", "OnnxParserFlag.ADJUST_FOR_DLA"}
REMOVED_IN_11 = {
    "BuilderFlag.FP16",
    "BuilderFlag.INT8",
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS",
    "Builder.platform_has_fast_fp16",
    "Builder.platform_has_fast_int8",
    "IBuilderConfig.int8_calibrator",
    "IBuilderConfig.set_calibration_profile",
    "IInt8EntropyCalibrator2",
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
}


def manifest_of(precision: Any = "fp16") -> Manifest:
    return Manifest(kind="onnx", names=NAMES, image_size=64, stride=32, precision=precision)


class Bench:
    """A machine with an Orin and one release of TensorRT."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, monkeypatch
        self.onnx = folder / "detector.onnx"
        self.onnx.write_bytes(b"read by the real parser only")
        self.machine(ORIN)

    def machine(self, gpu: CudaGpu | None, platform: str = "linux-aarch64") -> None:
        self._patch.setattr(plan, "find_gpu", lambda: gpu)
        self._patch.setattr(plan, "platform_tag", lambda: platform)

    def install(self, release: str, **behaviour: Any) -> FakeTensorRT:
        fake = FakeTensorRT(release, Behaviour(**behaviour))
        self._patch.setitem(sys.modules, "tensorrt", fake)
        self._patch.setattr("edgekd_export.tensorrt.build_log._loggers", {})
        return fake

    def build(self, precision: Any = "fp16", **settings: Any) -> EngineResult:
        return build_engine(
            self.onnx, manifest_of(precision), TensorRTSettings(**settings), self.folder / "out"
        )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


SCENARIOS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {"precision": "fp16"}),
    "fp32": ({}, {"precision": "fp32"}),
    "everything": (
        {"input_shape": DYNAMIC},
        {
            "precision": "int8",
            "workspace_gb": 2,
            "builder_level": 4,
            "batch_profile": (1, 4, 8),
            "refit": True,
            "strip_weights": True,
        },
    ),
    "accelerator": ({"dla_cores": 2}, {"precision": "int8", "dla_core": 1}),
}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_path_through_every_release(release: str, scenario: str, bench: Bench) -> None:
    behaviour, options = SCENARIOS[scenario]
    fake = bench.install(release, **behaviour)
    result = bench.build(timing_cache=bench.folder / "times", **options)
    assert result.engine.read_bytes() == ENGINE
    assert result.manifest.versions["tensorrt"] == fake.__version__
    assert fake.called("Builder.create_network") == [(1 << 1,)]  # strongly typed, nothing else
    assert not fake.touched & REMOVED_IN_11
    newest = FakeTensorRT("11_4")
    known = newest.names | {f"{c}.{m}" for c, found in newest.members.items() for m in found}
    assert fake.touched - PROBED <= known


def test_every_release_is_driven_alike(bench: Bench) -> None:
    """What is done differs between releases in nothing but the flag that newer parsers have."""
    behaviour, options = SCENARIOS["everything"]
    done = []
    for release in RELEASES:
        fake = bench.install(release, **behaviour)
        bench.build(**options)
        done.append([name for name, _ in fake.calls])
    assert done[0] == done[1] == done[2] == done[3]


@pytest.mark.parametrize("release", RELEASES)
def test_what_was_asked_for_reaches_the_builder(release: str, bench: Bench) -> None:
    behaviour, options = SCENARIOS["everything"]
    fake = bench.install(release, **behaviour)
    result = bench.build(**options)
    (pool, limit), *more = fake.called("IBuilderConfig.set_memory_pool_limit")
    assert (pool.name, limit, more) == ("WORKSPACE", 2 << 30, [])
    assert fake.called("IBuilderConfig.builder_optimization_level") == [(4,)]
    flags = [flag.name for (flag,) in fake.called("IBuilderConfig.set_flag")]
    assert flags == ["REFIT", "STRIP_PLAN"]
    shapes = [(images, 3, 64, 64) for images in (1, 4, 8)]
    assert fake.called("IOptimizationProfile.set_shape") == [("pixels", *shapes)]
    assert len(fake.called("IBuilderConfig.add_optimization_profile")) == 1
    build = result.manifest.engine
    assert build is not None
    assert build.batch == (1, 4, 8)
    assert result.manifest.dynamic_batch
    assert (build.options["workspace_gb"], build.options["builder_level"]) == (2, 4)
    assert build.options["refit"] and build.options["strip_weights"]


def test_nothing_is_set_that_was_not_asked_for(bench: Bench) -> None:
    fake = bench.install("10_13")
    bench.build("int8")
    assert not [name for name, _ in fake.calls if name.startswith("IBuilderConfig.")]


def test_fp32_is_not_rounded_to_tf32(bench: Bench) -> None:
    fake = bench.install("10_13")
    result = bench.build("fp32")
    assert [flag.name for (flag,) in fake.called("IBuilderConfig.clear_flag")] == ["TF32"]
    assert "--noTF32" in result.trtexec


@pytest.mark.parametrize(("release", "adjusts"), [("10_3", False), ("11_4", True)])
def test_an_accelerator_is_used_with_the_gpu_behind_it(
    release: str, adjusts: bool, bench: Bench
) -> None:
    fake = bench.install(release, dla_cores=2)
    result = bench.build("int8", dla_core=1)
    ((device,),) = fake.called("IBuilderConfig.default_device_type")
    assert device.name == "DLA"
    assert fake.called("IBuilderConfig.DLA_core") == [(1,)]
    assert [flag.name for (flag,) in fake.called("IBuilderConfig.set_flag")] == ["GPU_FALLBACK"]
    assert bool(fake.called("OnnxParser.set_flag")) is adjusts
    assert result.manifest.engine is not None
    assert result.manifest.engine.dla_core == 1


@pytest.mark.parametrize(
    ("settings", "precision", "message"),
    [
        ({"dla_core": 0}, "fp32", "fp16 and int8 only"),
        ({"dla_core": 2}, "fp16", "finds 2 deep-learning accelerators"),
        ({"dla_core": 0, "target": "jetson-orin-nano"}, "fp16", "has 0 deep-learning"),
        ({"dla_core": 0, "batch_profile": (1, 2, 4)}, "fp16", "takes one batch size"),
        ({"batch_profile": (1, 2, 4)}, "fp16", "exported for batch 1"),
        ({"target": "jetson-thor"}, "fp16", "SM 11.0 .* SM 8.7 .*--bundle"),
        ({"target": "t4"}, "fp16", "SM 7.5"),
        ({"target": "cpu-x86"}, "fp16", "no engine for it"),
        ({"target": "jetson-xavier-nx"}, "fp16", "TensorRT 8.5"),
        ({"target": "jetson-orin-nano", "builder": "rtx"}, "fp16", "not by rtx"),
    ],
)
def test_contradictions_are_one_line_and_write_nothing(
    settings: dict[str, Any], precision: str, message: str, bench: Bench
) -> None:
    bench.install("10_13", dla_cores=2)
    with pytest.raises(InputError, match=message) as caught:
        bench.build(precision, **settings)
    assert "\n" not in str(caught.value)
    assert not list(bench.folder.glob("out/*"))


def test_a_target_gives_defaults_and_options_win(bench: Bench) -> None:
    fake = bench.install("10_3")
    result = bench.build(target="jetson-orin-nano")
    ((_, limit),) = fake.called("IBuilderConfig.set_memory_pool_limit")
    assert limit == 1 << 30  # of eight shared gigabytes
    assert result.manifest.target == "jetson-orin-nano"
    assert "--memPoolSize=workspace:1024M" in result.trtexec
    fake = bench.install("10_3")
    bench.build(target="jetson-orin-nano", workspace_gb=0.5)
    ((_, limit),) = fake.called("IBuilderConfig.set_memory_pool_limit")
    assert limit == 1 << 29


def test_the_manifest_says_where_the_engine_fits(bench: Bench) -> None:
    bench.install("10_3")
    result = bench.build("int8")
    assert result.engine.name == "detector.int8.engine"
    manifest = read_engine_manifest(result.engine)
    assert manifest == result.manifest
    assert manifest.engine is not None
    assert (manifest.engine.builder, manifest.engine.version) == ("tensorrt", "10.3.0")
    assert (manifest.engine.compute_capability, manifest.engine.device) == ("8.7", "Orin")
    assert manifest.parents[-1].role == "onnx"
    assert manifest.parity == "n/a"


def test_a_dynamic_file_without_a_profile_takes_the_targets_batch(bench: Bench) -> None:
    bench.machine(CudaGpu("Tesla T4", "7.5", 16.0), "linux-x86_64")
    fake = bench.install("10_13", input_shape=DYNAMIC)
    bench.build(target="t4")
    ((_, least, best, most),) = fake.called("IOptimizationProfile.set_shape")
    assert (least[0], best[0], most[0]) == (1, 8, 8)
    fake = bench.install("10_13", input_shape=DYNAMIC)
    bench.build()
    ((_, least, best, most),) = fake.called("IOptimizationProfile.set_shape")
    assert (least[0], best[0], most[0]) == (1, 1, 1)


def test_a_timing_cache_is_read_and_replaced(bench: Bench) -> None:
    times = bench.folder / "caches" / "times.bin"
    fake = bench.install("10_13")
    result = bench.build(timing_cache=times)
    assert fake.called("IBuilderConfig.create_timing_cache") == [(b"",)]
    assert times.read_bytes() == NEW_CACHE
    assert result.notes == ()
    fake = bench.install("10_13")
    result = bench.build(timing_cache=times)
    assert fake.called("IBuilderConfig.set_timing_cache") == [(NEW_CACHE,)]
    assert f"--timingCacheFile={times}" in result.trtexec
    assert [path.name for path in times.parent.iterdir()] == ["times.bin"]


@pytest.mark.parametrize("refusal", ["none", "false"])
def test_a_cache_that_does_not_fit_is_begun_anew(refusal: str, bench: Bench) -> None:
    times = bench.folder / "times.bin"
    times.write_bytes(b"of another GPU")
    fake = bench.install("10_3", refused_caches=(b"of another GPU",), refusal=refusal)
    result = bench.build(timing_cache=times)
    (note,) = result.notes
    assert "times.bin" in note and "anew" in note
    assert fake.called("IBuilderConfig.set_timing_cache")[-1] == (b"",)
    assert times.read_bytes() == NEW_CACHE


def test_a_cache_that_is_a_folder_is_refused(bench: Bench) -> None:
    bench.install("10_3")
    with pytest.raises(InputError, match="timing cache cannot be read"):
        bench.build(timing_cache=bench.folder)


def test_a_cache_that_cannot_be_saved_is_a_note(bench: Bench) -> None:
    blocker = bench.folder / "file"
    blocker.write_text("in the way")
    cache = FakeTimingCache(bench.install("10_3"), b"")
    (note,) = save_timing_cache(TimingCache(blocker / "times.bin", cache))
    assert "could not be saved" in note


def test_a_refused_node_is_named(bench: Bench) -> None:
    errors = [
        ("QuantizeLinear", "/model.0/conv/q", "Non-zero zero point\n is not supported"),
        ("QuantizeLinear", "/model.1/conv/q", "the same"),
        ("QuantizeLinear", "/model.2/conv/q", "the same"),
    ]
    bench.install("10_13", parser_errors=errors)
    with pytest.raises(InputError) as caught:
        bench.build("int8")
    text = str(caught.value)
    assert "TensorRT 10.13.3.9 refuses it" in text
    assert "QuantizeLinear '/model.0/conv/q': Non-zero zero point is not supported" in text
    assert "(and 1 more)" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"num_inputs": 0}, "0 inputs"),
        ({"input_shape": (1, 3, 32, 32)}, "manifest says"),
        ({"output_shape": (1, 1000)}, r"\(B, 7, anchors\)"),
        ({"input_type": "HALF"}, "HALF images"),
    ],
)
def test_a_network_that_is_not_the_detector_is_refused(
    behaviour: dict[str, Any], message: str, bench: Bench
) -> None:
    bench.install("10_13", **behaviour)
    with pytest.raises(InputError, match=message):
        bench.build()


def test_a_failed_build_says_why_and_keeps_the_earlier_engine(bench: Bench) -> None:
    bench.install("10_3")
    good = bench.build()
    before = {path.name: path.read_bytes() for path in good.engine.parent.iterdir()}
    logs = [("WARNING", "odd"), ("ERROR", "out of\nmemory"), ("INFO", "bye")]
    bench.install("10_3", builds=False, logs=logs)
    with pytest.raises(InputError, match="built no engine: out of memory"):
        bench.build()
    assert {path.name: path.read_bytes() for path in good.engine.parent.iterdir()} == before


def test_nms_in_the_graph_is_named_as_a_suspect(bench: Bench) -> None:
    bench.install("10_3", builds=False, output_shape=(1, 300, 6))
    nms = Nms(conf=0.25, iou=0.7, max_det=300)
    manifest = manifest_of("fp32").model_copy(update={"nms": nms, "end_to_end": True})
    with pytest.raises(InputError, match="gave no reason; NMS in the graph may be why"):
        build_engine(bench.onnx, manifest, TensorRTSettings(), bench.folder)


def test_warnings_of_this_build_only_are_kept(bench: Bench) -> None:
    fake = bench.install("10_3", logs=[("WARNING", "one"), ("INFO", "chatter")])
    assert bench.build().warnings == ("one",)
    result = bench.build()  # TensorRT keeps the first logger of a process
    assert result.warnings == ("one",)
    assert result.manifest.engine is not None
    assert result.manifest.engine.options["num_warnings"] == 1
    assert len(fake.called("ILogger")) == 1
    assert open_build_log(fake).lines == []


def test_tensorrt_8_is_refused_by_what_it_lacks(bench: Bench) -> None:
    bench.install("8_6")
    with pytest.raises(InputError, match=r"has no typed networks; edgekd needs TensorRT 10.3"):
        bench.build()


def test_a_later_release_that_is_typed_without_asking_works(bench: Bench) -> None:
    fake = bench.install("11_4")
    fake.members["NetworkDefinitionCreationFlag"] = frozenset()
    bench.build()
    assert fake.called("Builder.create_network") == [(0,)]


def test_without_a_gpu_nothing_is_imported(bench: Bench) -> None:
    fake = bench.install("10_3")
    bench.machine(None)
    for wanted in ("auto", "tensorrt"):
        with pytest.raises(InputError, match=r"--builder rtx.*--bundle") as caught:
            bench.build(builder=wanted)
        assert "\n" not in str(caught.value)
    assert not fake.touched


def test_tensorrt_that_does_not_load_says_how_to_get_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match=r"cannot be imported .*pip install 'edgekd\[trt\]'"):
        bench.build(builder="tensorrt")


def test_no_space_leaves_the_earlier_engine(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.install("10_3")
    good = bench.build()
    before = good.engine.read_bytes()

    def disk_full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(InputError, match=r"No space left.*free some space"):
        bench.build()
    monkeypatch.undo()
    assert good.engine.read_bytes() == before
    assert read_manifest(good.engine) is not None
    assert len(list(good.engine.parent.iterdir())) == 2


def test_nowhere_to_write(bench: Bench) -> None:
    bench.install("10_3")
    blocker = bench.folder / "file"
    blocker.write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        build_engine(bench.onnx, manifest_of(), TensorRTSettings(), blocker / "x.engine")


def test_the_fakes_have_nothing_that_the_release_has_not() -> None:
    old, new = FakeTensorRT("10_3"), FakeTensorRT("11_4")
    assert old.BuilderFlag.FP16.name == "FP16"
    assert old.touched == {"BuilderFlag", "BuilderFlag.FP16"}
    for missing in (
        lambda: new.BuilderFlag.FP16,
        lambda: new.IInt8EntropyCalibrator2,
        lambda: FakeBuilder(new, new.ILogger()).platform_has_fast_fp16,
        lambda: setattr(FakeConfig(new), "int8_calibrator", None),
        lambda: old.ComputeCapability,
    ):
        with pytest.raises(AttributeError, match="has no"):
            missing()


def test_the_surfaces_say_where_they_come_from() -> None:
    folder = Path(__file__).parent / "tensorrt_fakes"
    for file in folder.glob("tensorrt_*.json"):
        content = json.loads(file.read_text())
        assert content["version"] in content["distribution"]
        assert "build_serialized_network" in content["classes"]["Builder"]
