"""What a server has to be told about a detector, read from the graph and its manifest.

The manifest says what the numbers mean, the graph which tensors there are; a configuration that was
written from only one of the two goes wrong when the other changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest


@dataclass(frozen=True)
class ServedModel:
    """A detector as a server sees it."""

    name: str
    manifest: Manifest
    input_name: str
    output_name: str
    batch: int | None  # None: any number of images at a time
    output_shape: tuple[int, int]  # of one image: (4 + nc, A), or (K, 6) where end to end

    @property
    def num_classes(self) -> int:
        """Classes the head distinguishes."""
        return len(self.manifest.names)

    @property
    def labels(self) -> list[str]:
        """Class names in the order of their ids."""
        return [self.manifest.names[index] for index in range(self.num_classes)]


def read_served_model(path: Path, manifest: Manifest, name: str) -> ServedModel:
    """Read the tensors of an exported detector.

    Raises:
        InputError: not one float image batch in and one float tensor out, or other sizes than the
            manifest says.
    """
    graph = onnx.load(path, load_external_data=False).graph
    side = manifest.image_size
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise InputError(f"{path}: has not exactly one input and one output; export it again")
    source, result = graph.input[0], graph.output[0]
    for tensor in (source, result):
        if tensor.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            raise InputError(f"{path}: '{tensor.name}' is not float32; export it again")
    batch, *image = _shape(source)
    _, *output = _shape(result)
    if image != [3, side, side]:
        raise InputError(f"{path}: takes images of {image}, its manifest says {side} px")
    if len(output) != 2 or None in output:
        raise InputError(f"{path}: answers with {output} an image, expected two fixed sizes")
    rows, columns = (size for size in output if size is not None)
    return ServedModel(name, manifest, source.name, result.name, batch, (rows, columns))


def _shape(tensor: onnx.ValueInfoProto) -> list[int | None]:
    """Sizes of a graph tensor; None where they are not fixed."""
    return [
        size.dim_value if size.HasField("dim_value") else None
        for size in tensor.type.tensor_type.shape.dim
    ]
