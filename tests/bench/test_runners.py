"""Both backends open one network, agree on what it computes, and refuse what they cannot run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from bench.conftest import SIDE, TinyModels, manifest, set_metadata
from bench.synthetic_sets import NAMES

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import MANIFEST_KEY, TeacherIdentity, write_manifest
from edgekd_bench.onnx_parameters import count_onnx_parameters
from edgekd_bench.runner import RunnerOptions, open_runner

ULTRALYTICS = {
    "names": str(NAMES),
    "stride": "32",
    "imgsz": f"[{SIDE}, {SIDE}]",
    "task": "detect",
    "batch": "1",
}


def _batch(count: int = 1) -> np.ndarray:
    return np.random.default_rng(0).random((count, 3, SIDE, SIDE), np.float32)


def test_backends_agree_on_outputs_and_facts(tiny_models: TinyModels) -> None:
    with open_runner(tiny_models.pt) as torch_runner, open_runner(tiny_models.onnx) as onnx_runner:
        first, second = torch_runner.forward(_batch()), onnx_runner.forward(_batch())
        assert first.shape == second.shape == (1, 4 + len(NAMES), 84)
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-2)
        for fact in ("names", "image_size", "stride", "end_to_end", "num_params", "precision"):
            assert getattr(torch_runner.info, fact) == getattr(onnx_runner.info, fact), fact
        assert torch_runner.info.names == NAMES
        assert torch_runner.info.image_size == SIDE
        assert torch_runner.info.num_params > 2_000_000
        assert (torch_runner.info.backend, onnx_runner.info.backend) == ("pytorch", "onnxruntime")


def test_channels_last_changes_no_result(tiny_models: TinyModels) -> None:
    with open_runner(tiny_models.pt) as plain:
        expected = plain.forward(_batch(2))
    with open_runner(tiny_models.pt, options=RunnerOptions(batch=2, channels_last=True)) as other:
        np.testing.assert_allclose(other.forward(_batch(2)), expected, rtol=1e-3, atol=1e-2)


def test_sidecar_manifest_wins_and_speaks(tiny_models: TinyModels, tmp_path: Path) -> None:
    teacher = TeacherIdentity(name="vit", licence="free", sha256="0" * 64)
    told = manifest(init="distilled", seed=4, parity="pass", num_params=123, teacher=teacher)
    for source, kind in ((tiny_models.onnx, "onnx"), (tiny_models.pt, "detector")):
        path = Path(shutil.copy(source, tmp_path))
        write_manifest(path, told.model_copy(update={"kind": kind}))
        with open_runner(path) as runner:
            info = runner.info
        assert (info.init, info.seed, info.parity) == ("distilled", 4, "pass")
        assert (info.num_params, info.teacher) == (123, "vit (free)")


def test_a_changed_file_is_not_what_its_manifest_says(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    path = Path(shutil.copy(tiny_models.onnx, tmp_path))
    write_manifest(path, manifest())
    with path.open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(InputError):
        open_runner(path)


def test_foreign_ultralytics_exports_are_understood(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    path = set_metadata(tiny_models.onnx, tmp_path / "foreign.onnx", ULTRALYTICS)
    with open_runner(path) as runner:
        assert runner.info.names == NAMES and runner.info.init == "other"
        assert runner.info.num_params == count_onnx_parameters(path.read_bytes())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"names": None}, "says nothing about its names"),
        ({"task": "segment"}, "a model for 'segment'"),
        ({"imgsz": "[64, 96]"}, "not square"),
        ({"names": "__import__('os')"}, "cannot be read"),
        ({"names": "{0: 'a', 1: 'b'}"}, "output of shape"),
        ({MANIFEST_KEY: "{}"}, "not a manifest"),
    ],
)
def test_unfit_metadata_is_refused(
    tiny_models: TinyModels, tmp_path: Path, changes: dict[str, str | None], reason: str
) -> None:
    merged = {key: value for key, value in {**ULTRALYTICS, **changes}.items() if value is not None}
    path = set_metadata(tiny_models.onnx, tmp_path / "foreign.onnx", merged)
    with pytest.raises(InputError, match=rf"foreign\.onnx.*{reason}"):
        open_runner(path)


@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
def test_broken_files_are_one_line(tiny_models: TinyModels, tmp_path: Path, suffix: str) -> None:
    whole = (tiny_models.onnx if suffix == ".onnx" else tiny_models.pt).read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 3]):
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"broken{suffix}") as caught:
            open_runner(path)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"weights": torch.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt: not an Ultralytics checkpoint"):
        open_runner(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (RunnerOptions(image_size=96), "exported for 64 px"),
        (RunnerOptions(batch=2), "exported for batch 1"),
        (RunnerOptions(device="cuda"), "CUDAExecutionProvider"),
    ],
)
def test_onnx_refuses_what_it_was_not_exported_for(
    tiny_models: TinyModels, options: RunnerOptions, reason: str
) -> None:
    import onnxruntime

    if options.device == "cuda" and "CUDAExecutionProvider" in (
        onnxruntime.get_available_providers()
    ):
        pytest.skip("this machine has the provider")
    with pytest.raises(InputError, match=reason):
        open_runner(tiny_models.onnx, options=options)


def test_torch_refuses_sides_its_stride_does_not_divide(tiny_models: TinyModels) -> None:
    with pytest.raises(InputError, match="use 96 or 128"):
        open_runner(tiny_models.pt, options=RunnerOptions(image_size=100))
    with open_runner(tiny_models.pt, options=RunnerOptions(image_size=96)) as runner:
        assert runner.info.image_size == 96


def test_wrong_paths_and_backends_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        open_runner(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="openvino, not on pytorch"):
        open_runner(tiny_models.onnx, "pytorch")
    (tmp_path / "m.tflite").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no backend runs '\.tflite'"):
        open_runner(tmp_path / "m.tflite")


def test_parameters_of_a_quantised_graph_count_once() -> None:
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.int8), "w")
    scale = numpy_helper.from_array(np.float32(0.1), "s")
    bias = numpy_helper.from_array(np.zeros(4, np.float32), "b")
    anchors = numpy_helper.from_array(np.zeros((1, 2, 50), np.float32), "anchors")
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["wf"]),
        helper.make_node("Conv", ["x", "wf", "b"], ["y"]),
        helper.make_node("Add", ["y", "anchors"], ["z"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("z", TensorProto.FLOAT, None)],
        [weight, scale, bias, anchors],
    )
    data = helper.make_model(graph).SerializeToString()
    assert count_onnx_parameters(data) == 4 * 3 * 3 * 3 + 4
    with pytest.raises(ValueError, match="protobuf"):
        count_onnx_parameters(data[:-3])
