"""Backbone and taps are found in every family, without a table of layer numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgekd.models.student import (
    StudentBackbone,
    backbone_depth,
    backbone_state,
    build_detector,
)
from edgekd_bench.errors import InputError

# Layer numbers and channels read off each parsed model; (depth, {stride: (layer, channels)}).
FAMILIES = {
    "yolov3": (11, {8: (6, 256), 16: (8, 512), 32: (10, 1024)}),
    "yolov5n": (10, {8: (4, 64), 16: (6, 128), 32: (9, 256)}),
    "yolov6n": (10, {8: (4, 64), 16: (6, 128), 32: (9, 256)}),
    "yolov8n": (10, {8: (4, 64), 16: (6, 128), 32: (9, 256)}),
    "yolov8n-p2": (10, {8: (4, 64), 16: (6, 128), 32: (9, 256)}),
    "yolov8n-p6": (12, {8: (4, 64), 16: (6, 128), 32: (8, 192)}),
    "yolov9t": (10, {8: (4, 64), 16: (6, 96), 32: (9, 128)}),
    "yolov9c": (10, {8: (4, 512), 16: (6, 512), 32: (9, 512)}),
    "yolov10n": (11, {8: (4, 64), 16: (6, 128), 32: (10, 256)}),
    "yolo11n": (11, {8: (4, 128), 16: (6, 128), 32: (10, 256)}),
    "yolo12n": (9, {8: (4, 128), 16: (6, 128), 32: (8, 256)}),
    "yolo26n": (11, {8: (4, 128), 16: (6, 128), 32: (10, 256)}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_taps(family: str) -> None:
    depth, expected = FAMILIES[family]
    detector = build_detector(f"{family}.yaml", num_classes=2)
    backbone = StudentBackbone(detector)
    assert backbone_depth(detector) == depth
    assert {t.stride: (t.layer, t.channels) for t in backbone.taps} == expected
    names = set(backbone_state(detector))
    assert names == set(backbone.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_neck_taps_are_the_inputs_of_the_detect_head(family: str) -> None:
    detector = build_detector(f"{family}.yaml", num_classes=2)
    student = StudentBackbone(detector, "backbone+neck")
    head = detector.model[-1]  # type: ignore[index]
    strides = [int(stride) for stride in detector.stride]  # type: ignore[union-attr]
    expected = {s: f for s, f in zip(strides, head.f, strict=True) if s in (8, 16, 32)}  # type: ignore[union-attr]
    assert {tap.stride: tap.layer for tap in student.taps} == expected
    assert set(backbone_state(detector, "backbone+neck")) == set(student.state_dict())
    assert not any(".dfl." in name for name in student.state_dict())


def test_tapped_maps_equal_the_detectors_own() -> None:
    detector = build_detector("yolo11n.yaml", num_classes=2).eval()
    backbone = StudentBackbone(detector).eval()
    seen: dict[int, torch.Tensor] = {}
    for tap in backbone.taps:
        layer = detector.model[tap.layer]  # type: ignore[index]
        layer.register_forward_hook(  # type: ignore[union-attr]
            lambda _m, _i, out, stride=tap.stride: seen.__setitem__(stride, out)
        )
    images = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        detector(images)
        expected = dict(seen)
        maps = backbone(images)
    assert {s: tuple(m.shape[-2:]) for s, m in maps.items()} == {
        8: (12, 16),
        16: (6, 8),
        32: (3, 4),
    }
    assert all(torch.equal(maps[s], expected[s]) for s in (8, 16, 32))


@pytest.mark.parametrize("model", ["yolo99n.yaml", "yolo11n-cls.yaml", "missing.pt"])
def test_what_is_not_a_detector_is_refused(model: str) -> None:
    with pytest.raises(InputError):
        build_detector(model)


def test_truncated_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save({"model": build_detector("yolo11n.yaml")}, file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="not an Ultralytics checkpoint"):
        build_detector(str(file))
