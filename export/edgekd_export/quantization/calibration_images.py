"""Which images int8 ranges are measured on, and which stay aside to compare the outcome on.

Images of the val split are never among them, not even under another name: the mAP of the int8 file
would be measured on what it was fitted to. The draw depends on the seed and the files alone, so the
same set has the same hash, and a cache can be found again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.images import IMAGE_SUFFIXES, decode_image, letterbox, to_batch
from edgekd_bench.labelled_image import LabelledImage
from edgekd_bench.manifest import sha256_of, short_name
from edgekd_export.quantization.ranges import Batch
from edgekd_export.settings import ExportSettings

_YAML = (".yaml", ".yml")


@dataclass
class CalibrationImages:
    """Images to calibrate on, read when they are needed and not before."""

    paths: tuple[Path, ...]
    source: str
    sha256: str  # over the content hashes, in order
    held_out: DetectionSet | None  # labelled images not among them
    broken: list[str] = field(default_factory=list)  # found on the way

    def batches(self, side: int, size: int) -> Iterator[Batch]:
        """Network inputs (size, 3, side, side), the last filled up by repetition.

        Raises:
            InputError: not one image can be decoded.
        """
        self.broken.clear()
        waiting = []
        for path in self.paths:
            try:
                waiting.append(letterbox(decode_image(path), side)[0])
            except InputError as error:
                self.broken.append(str(error))
                continue
            if len(waiting) == size:
                yield to_batch(waiting), size
                waiting = []
        if len(self.broken) == len(self.paths):
            raise InputError(
                f"{self.source}: none of its {len(self.paths)} images can be decoded; "
                f"{self.broken[0]}"
            )
        if waiting:
            yield to_batch(waiting + [waiting[-1]] * (size - len(waiting))), len(waiting)

    @cached_property
    def compared_sha256(self) -> str:
        """Of the images that methods are compared on: the held-out ones, or else these."""
        return self.held_out.content_hash() if self.held_out else self.sha256

    @property
    def num_images(self) -> int:
        """Images that took part, once they have been read."""
        return len(self.paths) - len(self.broken)


def find_calibration_images(data: Path | None, settings: ExportSettings) -> CalibrationImages:
    """Draw images to calibrate on.

    Args:
        data: the data of the export: data.yaml or coco.yaml (its train split), or a folder.
        settings: other data to calibrate on, how many images, the seed.

    Raises:
        InputError: no data, no train split, no images, or nothing but val images.
    """
    source = settings.calibration_data or data
    if source is None:
        raise InputError(
            "int8 needs images to calibrate on: give --data data.yaml (its train split is used), "
            "--calibration-data or --calibration-cache"
        )
    val = _val_hashes(data)
    if source.suffix.lower() in _YAML:
        labelled = _train_split(source)
        chosen, held_out = _split(labelled.images, val, settings, source)
        return CalibrationImages(
            paths=tuple(image.path for image in chosen),
            source=f"{short_name(source)} (train)",
            sha256=_set_hash([image.path for image in chosen]),
            held_out=replace(labelled, images=tuple(held_out)) if held_out else None,
        )
    paths = _drawn(_images_of(source), settings.calibration_seed)
    paths = _without(paths, val, settings.calibration_images)
    _require(paths, source)
    held_out_set = _held_out_elsewhere(data, paths, val, settings)
    return CalibrationImages(tuple(paths), short_name(source), _set_hash(paths), held_out_set)


def _train_split(source: Path) -> DetectionSet:
    try:
        return load_detection_set(source, "train")
    except InputError as error:
        if "no split 'train'" in str(error):
            raise InputError(
                f"{error}; calibration uses the train split: give --calibration-data"
            ) from error
        raise


def _split(
    images: Sequence[LabelledImage], val: set[str], settings: ExportSettings, source: Path
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Images to calibrate on and others to compare on; at most half are kept for the latter."""
    order = np.random.default_rng(settings.calibration_seed).permutation(len(images))
    num_held_out = min(settings.held_out_images, len(images) // 2)
    held_out = [images[index] for index in order[:num_held_out]]
    by_path = {images[index].path: images[index] for index in order[num_held_out:]}
    chosen = _without(list(by_path), val, settings.calibration_images)
    _require(chosen, source)
    seen = val | {sha256_of(path) for path in chosen}
    apart = [image for image in held_out if sha256_of(image.path) not in seen]
    return [by_path[path] for path in chosen], apart


def _held_out_elsewhere(
    data: Path | None, used: Sequence[Path], val: set[str], settings: ExportSettings
) -> DetectionSet | None:
    """Labelled train images of the export's own data that are not among those of a folder."""
    if data is None or data.suffix.lower() not in _YAML:
        return None
    try:
        labelled = load_detection_set(data, "train")
    except InputError:
        return None  # without labels to compare on, raw outputs decide, and the export says so
    seen = val | {sha256_of(path) for path in used}
    by_path = {image.path: image for image in labelled.images}
    paths = _drawn(list(by_path), settings.calibration_seed)
    apart = _without(paths, seen, settings.held_out_images)
    return replace(labelled, images=tuple(by_path[path] for path in apart)) if apart else None


def _images_of(folder: Path) -> list[Path]:
    """Image files below a folder, by their names.

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such calibration data; give a data.yaml, a coco.yaml or a folder"
        )
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _drawn(paths: Sequence[Path], seed: int) -> list[Path]:
    return [paths[index] for index in np.random.default_rng(seed).permutation(len(paths))]


def _without(paths: Sequence[Path], unwanted: set[str], count: int) -> list[Path]:
    """The first ``count`` files whose content is not unwanted."""
    kept: list[Path] = []
    for path in paths:
        if len(kept) == count:
            break
        if not unwanted or sha256_of(path) not in unwanted:
            kept.append(path)
    return kept


def _require(paths: Sequence[Path], source: Path) -> None:
    if not paths:
        raise InputError(
            f"{source}: no images to calibrate on (those of the val split do not count); "
            "give other --calibration-data"
        )


def _val_hashes(data: Path | None) -> set[str]:
    """Content hashes of the images that mAP is measured on, if the data has such."""
    if data is None or data.suffix.lower() not in _YAML:
        return set()
    return {sha256_of(image.path) for image in load_detection_set(data, "val").images}


def _set_hash(paths: Sequence[Path]) -> str:
    return hashlib.sha256("\n".join(map(sha256_of, paths)).encode()).hexdigest()
