"""Real photographs, where a checkout has them beside it: formats that no generator thinks of."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.config import load_config
from edgekd.data.image_manifest import build_manifest, read_roots
from edgekd.distill.setup import prepare_data
from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.errors import InputError

REPOSITORY = Path(__file__).parents[2]
PHOTOGRAPHS = REPOSITORY.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not PHOTOGRAPHS.is_dir(), reason="needs the photographs in ../shared/data"
)


@pytest.mark.parametrize(
    ("name", "train", "val"),
    [("dice", (200, 1487), (50, 308)), ("raccoon", (160, None), (40, None))],
)
def test_both_forms_of_a_labelled_set_agree(
    name: str, train: tuple[int, int | None], val: tuple[int, int | None]
) -> None:
    for split, (num_images, num_boxes) in (("train", train), ("val", val)):
        found = load_detection_set(PHOTOGRAPHS / name / "data.yaml", split)
        assert len(found.images) == num_images
        assert num_boxes in (None, found.num_boxes)


def test_coco_form_of_the_dice_has_the_same_boxes() -> None:
    yolo = load_detection_set(PHOTOGRAPHS / "dice" / "data.yaml", "val")
    coco = load_detection_set(PHOTOGRAPHS / "dice" / "coco.yaml", "val")
    assert (yolo.num_boxes, yolo.names) == (coco.num_boxes, coco.names)


def test_every_photograph_opens() -> None:
    found = build_manifest([PHOTOGRAPHS / "photos" / "images"], max_broken_share=0)
    assert len(found.images) == 1000


def test_the_recipe_accepts_the_photographs_and_guards_the_val_set() -> None:
    data = PHOTOGRAPHS / "dice" / "data.yaml"
    manifest = PHOTOGRAPHS / "dice" / "unlabeled_images.yaml"
    recipe = REPOSITORY / "configs" / "dice.yaml"
    config = load_config(recipe, [f"data={data}", f"unlabeled.manifest={manifest}"])
    assert len(prepare_data(config).manifest.images) == 200
    assert read_roots(manifest)
    leaking = load_config(
        recipe, [f"data={data}", f"unlabeled.roots=['{PHOTOGRAPHS / 'dice' / 'images'}']"]
    )
    with pytest.raises(InputError, match="detection val set"):
        prepare_data(leaking)
