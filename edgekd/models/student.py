"""The student: any Ultralytics detector, its backbone and its P3/P4/P5 taps.

Families differ in layer numbers, so nothing is looked up in a table: the parsed model says which
layers are backbone, and one small forward pass says which stride each of them has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from edgekd.config import Scope
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of
from edgekd_bench.ultralytics_checkpoint import check_is_detector, load_detector
from edgekd_bench.ultralytics_setup import prepare_ultralytics

_PROBE_SIZE = 256
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Tap:
    """A backbone layer whose output is aligned with the teacher."""

    stride: int
    layer: int
    channels: int


class StudentBackbone(nn.Module):
    """The backbone layers of a detector, with or without its neck; returns the tapped maps.

    Args:
        detector: an Ultralytics ``DetectionModel``. Its layers are shared, not copied.
        scope: ``backbone``: tapped are its last layers of stride 8, 16 and 32; ``backbone+neck``:
            everything before the detect head, tapped at the head's own inputs.
    """

    def __init__(self, detector: nn.Module, scope: Scope = "backbone") -> None:
        super().__init__()
        modules = list(cast(Any, detector).model)
        layers = modules[: scope_depth(detector, scope)]
        # Named `model` so that tensor names equal the detector's own: model.0.conv.weight, …
        self.model = nn.ModuleList(layers)
        candidates = range(len(layers)) if scope == "backbone" else modules[-1].f
        self.taps = _find_taps(layers, candidates)

    def require_grad(self) -> None:
        """Let every layer learn that a tap depends on; those behind the last tap cannot."""
        last = max(tap.layer for tap in self.taps)
        for index, layer in enumerate(self.model):
            layer.requires_grad_(index <= last)

    def forward(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
        """Tapped maps by stride.

        Args:
            images: ``(B, 3, H, W)`` in ``[0, 1]``.

        Returns:
            ``{8: (B, C3, H/8, W/8), 16: …, 32: …}``
        """
        last = max(tap.layer for tap in self.taps)
        outputs = _run_layers(list(self.model)[: last + 1], images)
        return {tap.stride: cast(torch.Tensor, outputs[tap.layer]) for tap in self.taps}


def build_detector(model: str, num_classes: int = 80) -> nn.Module:
    """An Ultralytics detector on the CPU in fp32.

    Args:
        model: ``yolo11n.yaml`` (random weights) or a ``.pt`` checkpoint.
        num_classes: of the head; ignored for a checkpoint.

    Raises:
        InputError: unknown name, missing or foreign checkpoint, not a detector.
    """
    prepare_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    if model.endswith(".pt"):
        return cast(nn.Module, load_detector(Path(model)))
    try:
        detector: nn.Module = DetectionModel(model, ch=3, nc=num_classes, verbose=False)
    except FileNotFoundError as error:
        raise InputError(f"student.model: Ultralytics knows no model '{model}'") from error
    except (KeyError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(f"student.model: '{model}' is not a detector ({error!r})") from error
    check_is_detector(f"student.model: '{model}'", detector)
    return detector


def student_identity(model: str) -> str:
    """The hash of a checkpoint, the name of a YAML: equal for equal starting points."""
    return sha256_of(Path(model)) if model.endswith(".pt") else model


def backbone_depth(detector: nn.Module) -> int:
    """Number of layers of the parsed model that belong to the backbone."""
    return len(cast(Any, detector).yaml["backbone"])


def scope_depth(detector: nn.Module, scope: Scope) -> int:
    """Number of layers that are distilled: the backbone's, or all but the detect head."""
    if scope == "backbone":
        return backbone_depth(detector)
    return len(cast(Any, detector).model) - 1


def backbone_state(detector: nn.Module, scope: Scope = "backbone") -> dict[str, torch.Tensor]:
    """The distilled layers' tensors (parameters and buffers) under the detector's own names."""
    depth = scope_depth(detector, scope)
    return {
        name: tensor
        for name, tensor in detector.state_dict().items()
        if int(name.split(".")[1]) < depth
    }


def _run_layers(layers: list[nn.Module], images: torch.Tensor) -> list[Any]:
    """Outputs of every layer, routed by each layer's ``f`` (−1: the layer before)."""
    outputs: list[Any] = []
    current: Any = images
    for layer in layers:
        source = cast(Any, layer).f
        if isinstance(source, list):
            current = [current if index == -1 else outputs[index] for index in source]
        elif source != -1:
            current = outputs[source]
        current = layer(current)
        outputs.append(current)
    return outputs


def _find_taps(layers: list[nn.Module], candidates: Iterable[int]) -> tuple[Tap, ...]:
    """The last of the candidates of stride 8, 16 and 32."""
    training = [layer.training for layer in layers]
    for layer in layers:
        layer.eval()
    with torch.no_grad():
        outputs = _run_layers(layers, torch.zeros(1, 3, _PROBE_SIZE, _PROBE_SIZE))
    for layer, mode in zip(layers, training, strict=True):
        layer.train(mode)
    found: dict[int, Tap] = {}
    for index in candidates:
        output = outputs[index]
        if isinstance(output, torch.Tensor):
            stride = _PROBE_SIZE // output.shape[-1]
            found[stride] = Tap(stride, index, output.shape[1])
    missing = [stride for stride in STRIDES if stride not in found]
    if missing:
        raise InputError(f"student.model: no layer to tap has stride {missing}")
    return tuple(found[stride] for stride in STRIDES)
