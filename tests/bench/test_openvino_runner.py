"""OpenVINO runs the same file, gives the same numbers, and computes in the file's precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.conftest import SIDE, TinyModels, manifest, set_metadata
from bench.synthetic_sets import NAMES

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import MANIFEST_KEY
from edgekd_bench.onnx_metadata import read_onnx_metadata
from edgekd_bench.runner import Runner, RunnerOptions, open_runner

openvino = pytest.importorskip("openvino", reason="needs edgekd[openvino]")
ONE_THREAD = RunnerOptions(threads=1)


def _batch(seed: int = 0, count: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, SIDE, SIDE), np.float32)


def _open(path: Path, options: RunnerOptions = ONE_THREAD) -> Runner:
    return open_runner(path, "openvino", options)


def test_it_agrees_with_onnx_runtime(tiny_models: TinyModels) -> None:
    with open_runner(tiny_models.onnx) as reference, _open(tiny_models.onnx) as runner:
        kept = runner.forward_timed(_batch())
        runner.forward(_batch(1))
        # Within fp32 rounding: bf16, which some processors would take by themselves, is 1e-2 off.
        np.testing.assert_allclose(kept.output, reference.forward(_batch()), rtol=2e-4, atol=2e-3)
        assert kept.device_ms is not None and kept.device_ms > 0
        assert (runner.info.backend, runner.info.device) == ("openvino", "cpu")
        for fact in ("names", "image_size", "stride", "num_params", "sha256", "precision"):
            assert getattr(runner.info, fact) == getattr(reference.info, fact), fact
        assert runner.info.notes == ()


def test_the_precision_is_the_files_whatever_the_processor_would_like(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []
    real = openvino.Core.compile_model

    def compile_model(
        self: object, model: object, device: str, config: dict[str, object]
    ) -> object:
        asked.append(config)
        return real(self, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    half = set_metadata(
        tiny_models.onnx,
        tmp_path / "half.onnx",
        {MANIFEST_KEY: manifest(precision="fp16").model_dump_json()},
    )
    with _open(tiny_models.onnx), _open(half) as runner:
        notes = runner.info.notes
    native = "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert [config["INFERENCE_PRECISION_HINT"] for config in asked] == [
        "f32",
        "f16" if native else "f32",
    ]
    assert bool(notes) is not native
    assert all(config["PERFORMANCE_HINT"] == "LATENCY" for config in asked)
    assert all(config["INFERENCE_NUM_THREADS"] == 1 for config in asked)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_many_images_come_back_in_order(tiny_models: TinyModels, count: int) -> None:
    given = [_batch(seed) for seed in range(count)]
    with _open(tiny_models.onnx, RunnerOptions(threads=2)) as runner:
        found = runner.forward_all(given)
        assert runner.in_flight >= 1
        for batch, output in zip(given, found, strict=True):
            np.testing.assert_allclose(output, runner.forward(batch), rtol=2e-4, atol=2e-3)


def test_a_file_with_an_open_batch_is_fixed_to_the_one_asked_for(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load(tiny_models.onnx)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    path = tmp_path / "open.onnx"
    onnx.save(model, path)
    with _open(path, RunnerOptions(threads=1, batch=1)) as runner:
        assert runner.info.batch is None
        assert runner.forward(_batch()).shape == (1, 4 + len(NAMES), 84)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (RunnerOptions(image_size=96), "exported for 64 px"),
        (RunnerOptions(batch=2), "exported for batch 1"),
        (RunnerOptions(device="cuda"), "openvino runs on cpu or intel-gpu"),
    ],
)
def test_it_refuses_what_the_file_was_not_exported_for(
    tiny_models: TinyModels, options: RunnerOptions, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        _open(tiny_models.onnx, options)


def test_a_gpu_that_is_not_there_is_one_line(tiny_models: TinyModels) -> None:
    if any(name.startswith("GPU") for name in openvino.Core().available_devices):
        pytest.skip("this machine has one")
    with pytest.raises(InputError, match="OpenVINO sees no GPU here"):
        _open(tiny_models.onnx, RunnerOptions(device="intel-gpu"))


def test_broken_files_are_one_line(tiny_models: TinyModels, tmp_path: Path) -> None:
    whole = tiny_models.onnx.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 3]):
        path = tmp_path / "broken.onnx"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.onnx") as caught:
            _open(path)
        assert "\n" not in str(caught.value)


def test_metadata_is_read_from_the_file_itself(tiny_models: TinyModels, tmp_path: Path) -> None:
    told = {"names": str(NAMES), "empty": "", "ünicode": "wörds"}
    path = set_metadata(tiny_models.onnx, tmp_path / "told.onnx", told)
    assert read_onnx_metadata(path) == told
