"""How long COCO's mAP takes in edgekd and in pycocotools, on the same made-up detections.

    python bench/map_speed.py --out bench/results/cpu

Detections of 5,000 images in 80 classes are drawn from a seed. Both sides start from the same
arrays in memory and end with the same figures: mAP50-95, mAP50, by class, by size. edgekd's side
also keeps the matches that its bootstrap needs, which pycocotools would have to be asked for again.
The two take turns, so that the machine's moods meet both, and every round checks that all figures
agree. A second time for edgekd includes what it adds: mAP of the boxes alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd_bench.coco_score import Score, any_class_map, score_detections
from edgekd_bench.detection_data import DetectionSet, LabelledImage
from edgekd_bench.detections import Detections
from edgekd_bench.device_state import describe_environment
from edgekd_bench.manifest import library_versions, write_text_atomically

WIDTH, HEIGHT = 640, 480
TRUE_BOXES = 7.3  # per image, as in COCO's val set
LARGEST_DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Figures:
    """What both sides must agree on."""

    overall: tuple[float, ...]  # mAP50-95, mAP50, small, medium, large
    per_class: tuple[float, ...]

    def difference(self, other: Figures) -> float:
        """Largest absolute difference of any figure."""
        one, two = (np.array([*each.overall, *each.per_class]) for each in (self, other))
        return float(np.abs(one - two).max())


def made_up_set(
    num_images: int, num_classes: int, num_found: int, rng: np.random.Generator
) -> tuple[DetectionSet, list[Detections]]:
    """Truth, and a detector that finds most of it among many guesses of low score."""
    images, found = [], []
    for index in range(num_images):
        count = int(rng.poisson(TRUE_BOXES))
        boxes, class_ids = _boxes(count, rng), rng.integers(0, num_classes, count)
        crowd = rng.random(count) < 0.01
        images.append(LabelledImage(Path(f"{index}.jpg"), WIDTH, HEIGHT, boxes, class_ids, crowd))
        guesses = max(num_found - count, 0)
        near = boxes + rng.normal(0, 4, boxes.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        found.append(
            Detections(
                np.concatenate([near, _boxes(guesses, rng)]).astype(np.float32),
                np.concatenate([rng.beta(3, 2, count), rng.beta(0.6, 6, guesses)]).astype(
                    np.float32
                ),
                np.concatenate([class_ids, rng.integers(0, num_classes, guesses)]),
            )
        )
    names = {index: f"class {index}" for index in range(num_classes)}
    return DetectionSet(names, tuple(images), Path("made_up.yaml"), "val"), found


def _boxes(count: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    centre = rng.uniform(0, [WIDTH, HEIGHT], (count, 2))
    half = np.exp(rng.normal(4, 1, (count, 2))) / 2
    low, high = centre - half, centre + half
    boxes: np.ndarray[Any, np.dtype[np.float64]] = np.concatenate([low, high], axis=1)
    return boxes.clip(0, [WIDTH, HEIGHT] * 2)


def edgekd_figures(dataset: DetectionSet, score: Score) -> Figures:
    sizes = [score.map50_95_by_size[size] for size in ("small", "medium", "large")]
    per_class = [score.map50_95_per_class[name] for name in dataset.names.values()]
    known = [-1.0 if size is None else size for size in sizes]
    return Figures((score.map50_95, score.map50, *known), tuple(per_class))


def pycocotools_figures(dataset: DetectionSet, found: list[Detections]) -> Figures:
    """The same from the reference implementation, from the same arrays."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    for index, image in enumerate(dataset.images):
        sides = image.boxes[:, 2:] - image.boxes[:, :2]
        boxes = np.concatenate([image.boxes[:, :2], sides], axis=1).tolist()
        for box, class_id, crowd in zip(
            boxes, image.class_ids.tolist(), image.crowd.tolist(), strict=True
        ):
            entry = {"id": len(annotations) + 1, "image_id": index + 1, "iscrowd": int(crowd)}
            entry |= {"category_id": class_id + 1, "bbox": box, "area": box[2] * box[3]}
            annotations.append(entry)
    counts = [len(each) for each in found]
    boxes = np.concatenate([each.boxes for each in found]).astype(np.float64)
    results = np.column_stack(
        [
            np.repeat(np.arange(1, len(found) + 1), counts),
            boxes[:, :2],
            boxes[:, 2:] - boxes[:, :2],
            np.concatenate([each.scores for each in found]),
            np.concatenate([each.class_ids for each in found]) + 1,
        ]
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": index + 1} for index in range(len(dataset.images))],
            "categories": [{"id": k + 1, "name": name} for k, name in dataset.names.items()],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = evaluation.stats
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    return Figures(
        (stats[0], stats[1], stats[3], stats[4], stats[5]), tuple(precision.mean(axis=(0, 1)))
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Rounds of both sides and the record of them."""
    rng = np.random.default_rng(options.seed)
    environment = describe_environment()
    dataset, found = made_up_set(options.images, options.classes, options.found, rng)
    seconds: dict[str, list[float]] = {"edgekd": [], "edgekd_boxes_alone": [], "pycocotools": []}
    differences = []
    score_detections(found[:50], _first(dataset, 50))  # imports are not part of it
    for _ in range(options.rounds):
        taken, score = timed(lambda: score_detections(found, dataset))
        seconds["edgekd"].append(taken)
        seconds["edgekd_boxes_alone"].append(timed(lambda: any_class_map(found, dataset))[0])
        taken, reference = timed(lambda: pycocotools_figures(dataset, found))
        seconds["pycocotools"].append(taken)
        differences.append(edgekd_figures(dataset, score).difference(reference))
    assert max(differences) < LARGEST_DIFFERENCE, "the two sides do not compute the same"
    pairs = list(zip(*seconds.values(), strict=True))
    return {
        "what": "wall seconds from arrays in memory to mAP50-95, mAP50, by class and by size",
        "images": options.images,
        "classes": options.classes,
        "detections": int(sum(len(each) for each in found)),
        "true_boxes": dataset.num_boxes,
        "rounds": options.rounds,
        "seed": options.seed,
        "seconds": seconds,
        "median_seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "median_ratio": statistics.median(theirs / ours for ours, _, theirs in pairs),
        "median_ratio_with_boxes_alone": statistics.median(
            theirs / (ours + alone) for ours, alone, theirs in pairs
        ),
        "largest_difference_of_a_figure": max(differences),
        "environment": environment,
        "versions": library_versions("hotcoco", "pycocotools", "numpy"),
    }


def _first(dataset: DetectionSet, count: int) -> DetectionSet:
    return DetectionSet(dataset.names, dataset.images[:count], dataset.source, dataset.split)


def main() -> None:
    """Print the record as JSON and keep it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for the record")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--found", type=int, default=60, help="detections per image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    text = json.dumps(measure(options), indent=2)
    if options.out:
        write_text_atomically(options.out / "map_speed.json", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
