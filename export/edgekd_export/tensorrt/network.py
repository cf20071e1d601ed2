"""A typed ONNX file as a TensorRT network, or one line that says which node was refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest
from edgekd_export.tensorrt.api import TensorRTApi
from edgekd_export.tensorrt.build_log import BuildLog

_MAX_ERRORS = 2  # in a message; the first is usually the cause of the others
_DYNAMIC = -1


@dataclass(frozen=True)
class ParsedNetwork:
    """A network and what owns it: TensorRT frees what Python no longer refers to."""

    builder: Any
    network: Any
    parser: Any
    input_name: str
    input_shape: tuple[int, int, int, int]  # (B, 3, S, S); B is -1 where it is dynamic

    @property
    def dynamic_batch(self) -> bool:
        """Whether the ONNX file leaves the number of images open."""
        return self.input_shape[0] == _DYNAMIC


def parse_network(
    api: TensorRTApi, log: BuildLog, onnx: Path, manifest: Manifest, *, for_dla: bool
) -> ParsedNetwork:
    """Read an ONNX file into a strongly typed network.

    Args:
        api: which TensorRT.
        log: where it reports to.
        onnx: fp32, fp16-cast, or int8 with explicit Q/DQ.
        manifest: what the file is; its input and output are held against it.
        for_dla: let the parser reshape what a deep-learning accelerator cannot run otherwise.

    Raises:
        InputError: not ONNX, refused by the parser, or not the detector of the manifest.
    """
    trt = api.module
    builder = trt.Builder(log.logger)
    network = builder.create_network(api.network_flags)
    parser = trt.OnnxParser(network, log.logger)
    if for_dla and hasattr(trt.OnnxParserFlag, "ADJUST_FOR_DLA"):
        parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)
    if not parser.parse_from_file(str(onnx)):
        raise InputError(f"{onnx}: {api.title} refuses it: {_parser_errors(parser)}")
    name, shape = _check_detector(trt, network, onnx, manifest)
    return ParsedNetwork(builder, network, parser, name, shape)


def _parser_errors(parser: Any) -> str:
    """The first errors with their nodes, on one line."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = "; ".join(_parser_error(error) for error in errors[:_MAX_ERRORS])
    more = len(errors) - _MAX_ERRORS
    return (told or "no reason given") + (f" (and {more} more)" if more > 0 else "")


def _parser_error(error: Any) -> str:
    reason = " ".join(str(error.desc()).split())
    operator, node = error.node_operator(), error.node_name()
    return f"{operator} '{node}': {reason}" if node or operator else reason


def _check_detector(
    trt: Any, network: Any, onnx: Path, manifest: Manifest
) -> tuple[str, tuple[int, int, int, int]]:
    """Name and shape of the input of a network that is the detector it should be."""
    if network.num_inputs != 1 or network.num_outputs != 1:
        raise InputError(
            f"{onnx}: has {network.num_inputs} inputs and {network.num_outputs} outputs where a "
            "detector has one of each; is it a whole ONNX file of a detector?"
        )
    tensor = network.get_input(0)
    shape, side = tuple(tensor.shape), manifest.image_size
    if len(shape) != 4 or shape[1:] != (3, side, side):
        raise InputError(
            f"{onnx}: input of shape {shape} where its manifest says (B, 3, {side}, {side}); "
            "export it again"
        )
    if tensor.dtype != trt.DataType.FLOAT:
        raise InputError(
            f"{onnx}: takes {tensor.dtype.name} images; edgekd's engines take float32 at every "
            "precision, export it again with `edgekd export`"
        )
    _check_output(network, onnx, manifest)
    return tensor.name, (shape[0], shape[1], shape[2], shape[3])


def _check_output(network: Any, onnx: Path, manifest: Manifest) -> None:
    shape = tuple(network.get_output(0).shape)
    axis, columns = (2, 6) if manifest.end_to_end else (1, 4 + len(manifest.names))
    if len(shape) != 3 or shape[axis] not in (columns, _DYNAMIC):
        layout = f"(B, K, {columns})" if manifest.end_to_end else f"(B, {columns}, anchors)"
        raise InputError(
            f"{onnx}: output of shape {shape} where its manifest says {layout}; export it again"
        )
