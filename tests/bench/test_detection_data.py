"""A set with a fault is refused by file and line; a sound one reads the same in both forms."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.yolo_data import label_path


def _as_coco(yaml_path: Path) -> Path:
    """Write the val split of a YOLO set in the COCO form beside it, with odd category ids."""
    dataset = load_detection_set(yaml_path, "val")
    images, annotations = [], []
    for index, image in enumerate(dataset.images):
        size = {"width": image.width, "height": image.height}
        images.append({"id": index + 7, "file_name": image.path.name, **size})
        for box, class_id in zip(image.boxes.tolist(), image.class_ids.tolist(), strict=True):
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            entry = {"id": len(annotations) + 1, "image_id": index + 7, "bbox": xywh}
            annotations.append({**entry, "category_id": class_id * 10 + 3})
    categories = [{"id": k * 10 + 3, "name": n} for k, n in dataset.names.items()][::-1]
    tables = {"images": images, "annotations": annotations, "categories": categories}
    (yaml_path.parent / "val.json").write_text(json.dumps(tables))
    coco = yaml_path.with_name("coco.yaml")
    coco.write_text("path: .\nval: {images: images/val, annotations: val.json}\n")
    return coco


def _edit_json(coco: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = coco.parent / "val.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def test_boxes_are_pixels_of_the_image(yolo_set: Path) -> None:
    dataset = load_detection_set(yolo_set, "val")
    assert dataset.names == {0: "one", 1: "two", 2: "three"}
    assert len(dataset.images) == 3 and dataset.num_boxes == 6
    first = dataset.images[0]
    assert (first.width, first.height) == (80, 60)
    np.testing.assert_allclose(first.boxes, [[30, 15, 50, 45], [12, 9, 28, 21]])
    assert first.class_ids.tolist() == [0, 1] and not first.crowd.any()


def test_both_forms_give_the_same_set(yolo_set: Path) -> None:
    yolo = load_detection_set(yolo_set, "val")
    coco = load_detection_set(_as_coco(yolo_set), "val")
    assert coco.names == yolo.names
    for one, other in zip(yolo.images, coco.images, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes)
        assert np.array_equal(one.class_ids, other.class_ids)
    assert yolo.content_hash() == coco.content_hash()


def test_content_hash_ignores_the_place_but_not_the_content(yolo_set: Path, tmp_path: Path) -> None:
    before = load_detection_set(yolo_set, "val").content_hash()
    copy = shutil.copytree(yolo_set.parent, tmp_path / "elsewhere")
    assert load_detection_set(copy / "data.yaml", "val").content_hash() == before
    (copy / "labels/val/val1.txt").write_text("2 0.5 0.5 0.25 0.5\n")
    assert load_detection_set(copy / "data.yaml", "val").content_hash() != before


def test_lists_folders_and_absolute_paths(yolo_set: Path) -> None:
    root = yolo_set.parent
    (root / "val.txt").write_text("./images/val/val0.png\n\nimages/val/val2.png\n")
    text = yolo_set.read_text()
    yolo_set.write_text(text.replace("val: images/val", "val: [val.txt, images/train]"))
    names = [image.path.name for image in load_detection_set(yolo_set, "val").images]
    assert names == ["val0.png", "val2.png", "train0.png", "train1.png", "train2.png"]
    yolo_set.write_text(text.replace("path: .", f"path: {root}").replace("val: i", "val: ./i"))
    assert len(load_detection_set(yolo_set, "val").images) == 3


def test_background_duplicates_polygons_and_tolerance(yolo_set: Path) -> None:
    labels = yolo_set.parent / "labels/val"
    (labels / "val0.txt").unlink()
    (labels / "val1.txt").write_text("0 0.5 0.5 1.0005 1\n0 0.5 0.5 1.0005 1\n")
    (labels / "val2.txt").write_text("1 0.1 0.1 0.5 0.1 0.3 0.6\n")
    images = load_detection_set(yolo_set, "val").images
    assert len(images[0].boxes) == 0
    np.testing.assert_allclose(images[1].boxes, [[0, 0, 80, 60]])
    np.testing.assert_allclose(images[2].boxes, [[8, 6, 40, 36]])


def test_labels_mirror_the_last_images_folder() -> None:
    assert label_path(Path("/images/x/images/val/a.b.jpg")) == Path("/images/x/labels/val/a.b.txt")
    assert label_path(Path("/data/val/a.jpg")) == Path("/data/val/a.txt")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.2", "4 numbers"),
        ("0 0.5 0.5 0.2 x", "not a row of numbers"),
        ("3 0.5 0.5 0.2 0.2", "class 3"),
        ("-1 0.5 0.5 0.2 0.2", "class -1"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5"),
        ("0 nan 0.5 0.2 0.2", "NaN"),
        ("0 0.5 inf 0.2 0.2", "NaN or infinity"),
        ("0 0.5 1.2 0.2 0.2", r"1\.2 is outside"),
        ("0 320 240 64 64", "320 is outside"),
        ("0 0.5 0.5 -0.2 0.2", "outside"),
        ("0 0.5 0.5 0 0.2", "no area"),
        ("0 0.1 0.1 0.1 0.9 0.1 0.5", "no area"),
    ],
)
def test_faulty_label_lines_are_named(yolo_set: Path, line: str, reason: str) -> None:
    path = yolo_set.parent / "labels/val/val1.txt"
    path.write_text(f"0 0.5 0.5 0.2 0.2\n\n{line}\n")
    with pytest.raises(InputError, match=rf"val1\.txt:3: .*{reason}"):
        load_detection_set(yolo_set, "val")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("val: images/val", "", "no split 'val' .it has: train"),
        ("val: images/val", "val: images/nowhere", "nowhere is neither"),
        ("val: images/val", "val: 3", "val: must be"),
        ("val: images/val", "val: {images: a}", "exactly the keys"),
        ("path: .", "path: nowhere", "nowhere.*not a folder"),
        ("  2: three", "  5: three", "numbered 0 to 2"),
        ("names:", "nc: 4\nnames:", "nc is 4 but there are 3"),
        ("names:", "labels:", "no class names"),
        ("names:", "names: [", r"data\.yaml:\d+: not YAML"),
    ],
)
def test_faulty_descriptions_are_named(yolo_set: Path, old: str, new: str, reason: str) -> None:
    yolo_set.write_text(yolo_set.read_text().replace(old, new))
    with pytest.raises(InputError, match=reason) as caught:
        load_detection_set(yolo_set, "val")
    assert str(yolo_set) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_things_are_named(yolo_set: Path) -> None:
    root = yolo_set.parent
    with pytest.raises(InputError, match="no such file"):
        load_detection_set(root / "none.yaml", "val")
    with pytest.raises(InputError, match="split 'valid'"):
        load_detection_set(yolo_set, "valid")
    (root / "images/val/val1.png").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"val1\.png: not an image"):
        load_detection_set(yolo_set, "val")
    (root / "val.txt").write_text("images/val/val0.png\nimages/val/gone.png\n")
    yolo_set.write_text(yolo_set.read_text().replace("val: images/val", "val: val.txt"))
    with pytest.raises(InputError, match=r"val\.txt:2: no image"):
        load_detection_set(yolo_set, "val")
    shutil.rmtree(root / "images/train")
    (root / "images/train").mkdir()
    with pytest.raises(InputError, match="no images in this folder"):
        load_detection_set(yolo_set, "train")


def test_a_set_without_any_label_is_refused(yolo_set: Path) -> None:
    shutil.rmtree(yolo_set.parent / "labels")
    with pytest.raises(InputError, match="not one label"):
        load_detection_set(yolo_set, "val")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r["annotations"][2].update(image_id=99), r"annotations\[2\].*image_id 99"),
        (lambda r: r["annotations"][2].update(category_id=99), r"annotations\[2\].*category_id 99"),
        (lambda r: r["annotations"][2].update(bbox=[1, 2, 0, 4]), r"annotations\[2\].*no area"),
        (lambda r: r["annotations"][2].update(bbox=[1, 2, 90, 4]), r"annotations\[2\].*leaves"),
        (lambda r: r["annotations"][2].update(bbox=[1, 2, 3]), r"annotations\[2\].*four numbers"),
        (lambda r: r["annotations"][2].update(bbox=[1, 2, 3, float("nan")]), "NaN"),
        (lambda r: r["annotations"][2].pop("image_id"), "no whole number 'image_id'"),
        (lambda r: r["images"][1].update(file_name="gone.png"), r"gone\.png: no such image"),
        (lambda r: r["images"][1].update(width=60, height=80), r"images\[1\].*60x80.*80x60"),
        (lambda r: r["images"][1].update(id=7), "used twice"),
        (lambda r: r.update(images=[]), "no images"),
        (lambda r: r.pop("categories"), "no list 'categories'"),
    ],
)
def test_faulty_coco_entries_are_named(
    yolo_set: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    coco = _as_coco(yolo_set)
    _edit_json(coco, change)
    with pytest.raises(InputError, match=reason):
        load_detection_set(coco, "val")


def test_broken_coco_files_are_named_by_line(yolo_set: Path) -> None:
    coco = _as_coco(yolo_set)
    (coco.parent / "val.json").write_text('{"images": [],\n oops}')
    with pytest.raises(InputError, match=r"val\.json:2: not JSON"):
        load_detection_set(coco, "val")
    (coco.parent / "val.json").unlink()
    with pytest.raises(InputError, match="no such annotation file"):
        load_detection_set(coco, "val")


def test_crowds_are_kept_as_crowds(yolo_set: Path) -> None:
    coco = _as_coco(yolo_set)
    _edit_json(coco, lambda raw: raw["annotations"][0].update(iscrowd=1))
    assert load_detection_set(coco, "val").images[0].crowd.tolist() == [True, False]


def test_sizes_follow_the_exif_orientation(yolo_set: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    root = yolo_set.parent
    (root / "images/val/val0.png").unlink()
    Image.new("RGB", (80, 60)).save(root / "images/val/val0.jpg", exif=exif)
    image = load_detection_set(yolo_set, "val").images[0]
    assert (image.width, image.height) == (60, 80)
    np.testing.assert_allclose(image.boxes[0], [22.5, 20, 37.5, 60])
    assert not re.search("png", image.path.name)


def test_a_stated_area_is_kept_and_a_missing_one_is_the_boxes(yolo_set: Path) -> None:
    """COCO's own annotations state the area of the outline, and its mAP by size goes by that."""
    coco = _as_coco(yolo_set)

    def state(raw: dict[str, Any]) -> None:
        raw["annotations"][0]["area"] = 12.5
        raw["annotations"][1].pop("area", None)

    _edit_json(coco, state)
    image = load_detection_set(coco, "val").images[0]
    assert image.object_areas()[0] == 12.5
    sides = image.boxes[1, 2:] - image.boxes[1, :2]
    assert image.object_areas()[1] == pytest.approx(sides.prod())
    _edit_json(coco, lambda raw: raw["annotations"][0].update(area=-3))
    with pytest.raises(InputError, match=r"annotations\[0\]: area -3 is not a positive number"):
        load_detection_set(coco, "val")
    yolo = load_detection_set(yolo_set, "val").images[0]
    assert yolo.area is None and len(yolo.object_areas()) == len(yolo.boxes)
