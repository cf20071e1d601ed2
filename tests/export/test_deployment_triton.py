"""Triton's files: text that its own schema accepts, and shapes it can load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from export.served_models import NAMES, SIDE, served

from edgekd_bench.errors import InputError
from edgekd_export.deployment.served_model import ServedModel, read_served_model
from edgekd_export.deployment.triton import TritonBackend, triton_config, write_triton

pytest.importorskip("google.protobuf", reason="protobuf is not installed")


def model_config() -> Any:
    """Triton's ``ModelConfig``: its own if tritonclient is installed, else the fields we use.

    Numbers and types of the latter are those of model_config.proto.
    """
    try:
        from tritonclient.grpc import model_config_pb2
    except ImportError:
        return _fields_we_use()
    return model_config_pb2.ModelConfig()


def _fields_we_use() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference")
    types = file.enum_type.add(name="DataType")
    for number, name in enumerate(("TYPE_INVALID", "TYPE_BOOL")):
        types.value.add(name=name, number=number)
    types.value.add(name="TYPE_FP32", number=11)

    def message(name: str, *fields: tuple[str, int, int, str, bool]) -> None:
        added = file.message_type.add(name=name)
        for key, number, kind, type_name, repeated in fields:
            one = added.field.add(name=key, number=number, type=kind)
            one.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if type_name:
                one.type_name = type_name

    name = ("name", 1, field.TYPE_STRING, "", False)
    data_type = ("data_type", 2, field.TYPE_ENUM, ".inference.DataType", False)
    message("ModelInput", name, data_type, ("dims", 4, field.TYPE_INT64, "", True))
    message("ModelOutput", name, data_type, ("dims", 3, field.TYPE_INT64, "", True))
    delay = ("max_queue_delay_microseconds", 2, field.TYPE_UINT64, "", False)
    message("ModelDynamicBatching", delay)
    message(
        "ModelConfig",
        ("name", 1, field.TYPE_STRING, "", False),
        ("max_batch_size", 4, field.TYPE_INT32, "", False),
        ("input", 5, field.TYPE_MESSAGE, ".inference.ModelInput", True),
        ("output", 6, field.TYPE_MESSAGE, ".inference.ModelOutput", True),
        ("dynamic_batching", 11, field.TYPE_MESSAGE, ".inference.ModelDynamicBatching", False),
        ("backend", 17, field.TYPE_STRING, "", False),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("inference.ModelConfig")
    return message_factory.GetMessageClass(found)()


def parsed(model: ServedModel, backend: TritonBackend = "onnxruntime") -> Any:
    from google.protobuf import text_format

    return text_format.Parse(triton_config(model, backend, max_batch=8), model_config())


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_a_fixed_batch_is_part_of_the_shape_and_not_batched(
    backend: TritonBackend, tmp_path: Path
) -> None:
    config = parsed(served(tmp_path, "raw", batch=2), backend)
    assert (config.name, config.backend) == ("bolts", backend)
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [2, 3, SIDE, SIDE]
    assert list(config.output[0].dims) == [2, 4 + len(NAMES), 84]
    assert config.input[0].data_type == config.output[0].data_type == 11  # TYPE_FP32
    assert (config.input[0].name, config.output[0].name) == ("images", "output0")


def test_a_free_batch_is_left_to_triton(tmp_path: Path) -> None:
    config = parsed(served(tmp_path, "end_to_end", batch=None))
    assert config.max_batch_size == 8
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert list(config.input[0].dims) == [3, SIDE, SIDE]
    assert list(config.output[0].dims) == [84, 6]


def test_a_name_with_quotes_does_not_break_the_text(tmp_path: Path) -> None:
    from dataclasses import replace

    odd = replace(served(tmp_path, "raw"), name='say "cheese"\\')
    assert parsed(odd).name == 'say "cheese"\\'


def test_the_repository_is_laid_out_as_triton_wants_it(tmp_path: Path) -> None:
    model = served(tmp_path, "raw")
    file = tmp_path / "raw.onnx"
    written = write_triton(model, tmp_path / "r", "onnxruntime", file=file, max_batch=8)
    assert written == tmp_path / "r/bolts/1/model.onnx"
    assert written.read_bytes() == file.read_bytes()
    assert (tmp_path / "r/bolts/config.pbtxt").is_file()
    plan = write_triton(model, tmp_path / "t", "tensorrt", file=None, max_batch=8)
    assert plan == tmp_path / "t/bolts/1/model.plan"
    assert not plan.exists()


def test_a_graph_that_is_no_detector_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="float32"):
        served(tmp_path, "raw", element=onnx.TensorProto.FLOAT16)
    with pytest.raises(InputError, match="manifest says 96 px"):
        served(tmp_path, "raw", image_size=96)
    two = onnx.load(tmp_path / "raw.onnx")
    two.graph.output.append(two.graph.output[0])
    onnx.save(two, tmp_path / "two.onnx")
    with pytest.raises(InputError, match="exactly one input"):
        read_served_model(tmp_path / "two.onnx", served(tmp_path, "raw").manifest, "two")
