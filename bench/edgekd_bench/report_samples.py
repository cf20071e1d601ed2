"""A few evaluation images: the truth, what the baseline saw and what the distilled model saw.

Numbers do not say *how* a detector fails. Each picture is embedded once, as a small JPEG, and drawn
three times by reference; boxes are vector overlays, so they stay sharp and their class names are
text. Boxes are matched to the truth here only to colour them; mAP never comes from this file.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from PIL import Image, ImageOps

from edgekd_bench.record import BenchRecord, SampleBox, SampleImage, SamplePredictions
from edgekd_bench.report_svg import Canvas, shortened

MAX_IMAGES = 6
MAX_WORST = 4
MIN_SCORE = 0.25
MATCH_IOU = 0.5
_MAX_SIDE = 640
_MAX_BOXES = 60
_KIND_WORDS = {"truth": "", "hit": "found", "extra": "wrong", "missed": "missed"}
# What all pictures of a page may take together, as JPEG; base64 adds a third, and the page must
# stay below 5 MB. Photographs need a tenth of it; pictures of noise are reduced until they fit.
PICTURE_BYTES = 2_700_000
_ATTEMPTS = ((640, 82), (640, 60), (640, 35), (448, 35), (320, 30), (160, 25))


@dataclass(frozen=True)
class Panel:
    """One drawing of a sample with the line below it."""

    title: str
    caption: str
    drawing: Markup


@dataclass(frozen=True)
class Sample:
    """One image: its pixels as a reusable symbol, its panels, and why it has no pixels if so."""

    name: str
    symbol: Markup
    panels: list[Panel]
    missing: str = ""


@dataclass(frozen=True)
class SampleLimits:
    """How much of a page the samples of one run may take."""

    images: int = MAX_IMAGES
    worst: int = MAX_WORST
    jpeg_bytes: int = PICTURE_BYTES // (MAX_IMAGES + MAX_WORST)

    @classmethod
    def shared(cls, num_runs: int) -> SampleLimits:
        """The page's room divided among its runs; each shows one image of a kind at least."""
        images, worst = max(1, MAX_IMAGES // num_runs), max(1, MAX_WORST // num_runs)
        return cls(images, worst, PICTURE_BYTES // (num_runs * (images + worst)))


def build_samples(
    predictions: SamplePredictions,
    models: Sequence[tuple[str, str]],
    folder: Path,
    limits: SampleLimits | None = None,
    suffix: str = "",
) -> tuple[list[Sample], list[Sample]]:
    """Panels for the first sample images, and for the first of the worst.

    Args:
        predictions: the images with their truth and detections.
        models: ``(title, key in SampleImage.predictions)`` of the models to draw beside the truth.
        folder: the run folder, which relative image paths start from.
        limits: how many pictures, and how large.
        suffix: makes the drawings' names unique on the page.
    """
    limits = limits or SampleLimits()
    built: dict[str, list[Sample]] = {}
    for reason, count in (("sample", limits.images), ("worst", limits.worst)):
        chosen = [image for image in predictions.images if image.reason == reason][:count]
        built[reason] = [
            _build_sample(
                f"{reason}-{index}{suffix}",
                image,
                predictions.names,
                models,
                _encode(image, folder, limits.jpeg_bytes),
            )
            for index, image in enumerate(chosen)
        ]
    return built["sample"], built["worst"]


def choose_models(record: BenchRecord, predictions: SamplePredictions) -> list[tuple[str, str]]:
    """The baseline and the distilled model to draw: same backend, precision and seed if possible.

    Returns:
        ``(title, key)`` pairs, baseline first; models of neither kind where there are no such.
    """
    keys = {key for image in predictions.images for key in image.predictions}
    rows = [row for row in record.rows if f"{row.model}|{row.backend}" in keys]
    candidates = sorted((r for r in rows if r.init != "baseline"), key=lambda r: r.init == "other")
    baselines = [row for row in rows if row.init == "baseline"]
    if candidates:
        first = candidates[0]
        wanted = (first.backend, first.precision, first.seed)
        baselines.sort(key=lambda row: (row.backend, row.precision, row.seed) != wanted)
    pair = baselines[:1] + candidates[:1]
    if not pair:
        return [(key.partition("|")[0], key) for key in sorted(keys)[:2]]
    return [
        (
            f"{row.init}" + ("" if row.seed is None else f", seed {row.seed}"),
            f"{row.model}|{row.backend}",
        )
        for row in pair
    ]


def _build_sample(
    symbol_id: str,
    image: SampleImage,
    names: dict[int, str],
    models: Sequence[tuple[str, str]],
    encoded: tuple[str, str],
) -> Sample:
    pixels, missing = encoded
    symbol = _symbol(symbol_id, image, pixels) if pixels else Markup("")
    objects = drawable(image.truth)
    truth = [(box, "truth", _class_name(names, box)) for box in objects]
    panels = [
        Panel(
            "truth",
            f"{len(objects)} object" + ("" if len(objects) == 1 else "s"),
            _draw(f"{symbol_id}-truth", symbol_id, image, truth, bool(pixels), "truth"),
        )
    ]
    for place, (title, key) in enumerate(models):
        boxes, caption = _judge(image, key, names)
        drawing = _draw(f"{symbol_id}-{place}", symbol_id, image, boxes, bool(pixels), title)
        panels.append(Panel(title, caption, drawing))
    return Sample(Path(image.path).name, symbol, panels, missing)


def _encode(image: SampleImage, folder: Path, max_bytes: int) -> tuple[str, str]:
    """``(base64 JPEG, "")``, or ``("", reason)`` where the picture cannot be shown."""
    path = folder / image.path
    if not path.is_file():
        path = Path(image.path)
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (_MAX_SIDE, _MAX_SIDE))
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except FileNotFoundError:
        return "", f"image not found: {image.path}"
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return "", f"image cannot be read: {image.path} ({error})"
    for side, quality in _ATTEMPTS:
        buffer = io.BytesIO()
        upright.thumbnail((side, side))
        upright.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= max_bytes:
            return base64.b64encode(buffer.getvalue()).decode("ascii"), ""
    return "", f"image left out, the page would grow too large: {image.path}"


def _symbol(symbol_id: str, image: SampleImage, pixels: str) -> Markup:
    width, height = max(1, image.width), max(1, image.height)
    return Markup(
        '<symbol id="{}" viewBox="0 0 {} {}"><image width="{}" height="{}" '
        'preserveAspectRatio="none" href="data:image/jpeg;base64,{}"/></symbol>'
    ).format(symbol_id, width, height, width, height, pixels)


def drawable(boxes: Sequence[SampleBox]) -> list[SampleBox]:
    """The boxes whose corners are finite; an SVG cannot hold the others."""
    return [box for box in boxes if all(map(math.isfinite, box.xyxy))]


def _class_name(names: dict[int, str], box: SampleBox) -> str:
    return names.get(box.class_id, f"class {box.class_id}")


def _judge(
    image: SampleImage, key: str, names: dict[int, str]
) -> tuple[list[tuple[SampleBox, str, str]], str]:
    """Boxes with kind (``hit``, ``extra``, ``missed``) and label, and the line that counts them."""
    if key not in image.predictions:
        return [], "no predictions of this model for this image"
    found = [box for box in drawable(image.predictions[key]) if box.score >= MIN_SCORE]
    found.sort(key=lambda box: -box.score)
    open_truth = drawable(image.truth)
    num_truth = len(open_truth)
    drawn: list[tuple[SampleBox, str, str]] = []
    for box in found:
        match = _best_match(box, open_truth)
        if match is not None:
            open_truth.remove(match)
        kind = "extra" if match is None else "hit"
        drawn.append((box, kind, f"{_class_name(names, box)} {box.score:.2f}"))
    hits = sum(kind == "hit" for _, kind, _ in drawn)
    missed = [(box, "missed", "") for box in open_truth]
    caption = f"{hits} of {num_truth} found, {len(drawn) - hits} wrong"
    return missed + drawn[:_MAX_BOXES], caption


def _best_match(box: SampleBox, truth: Sequence[SampleBox]) -> SampleBox | None:
    same = [other for other in truth if other.class_id == box.class_id]
    best = max(same, key=lambda other: overlap(box, other), default=None)
    return best if best is not None and overlap(box, best) >= MATCH_IOU else None


def overlap(first: SampleBox, second: SampleBox) -> float:
    """Intersection over union of two boxes."""
    a, b = first.xyxy, second.xyxy
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inside = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return inside / union


def _draw(
    name: str,
    symbol_id: str,
    image: SampleImage,
    boxes: Sequence[tuple[SampleBox, str, str]],
    has_pixels: bool,
    title: str,
) -> Markup:
    width, height = max(1, image.width), max(1, image.height)
    drawn = ", ".join(f"{label} {_KIND_WORDS[kind]}".strip() for _, kind, label in boxes[:12])
    description = f"{len(boxes)} boxes: {drawn or 'none'}."
    canvas = Canvas(name, width, height, f"{Path(image.path).name}: {title}", description)
    canvas.root.set("class", "plot picture")
    canvas.add("rect", width=width, height=height, class_="backdrop")
    if has_pixels:
        canvas.add("use", href=f"#{symbol_id}", width=width, height=height)
    # Labels are sized for a panel about 340 CSS pixels wide, whatever the image measures.
    font = 11 * max(width / 340, height / 420)
    for box, kind, _ in boxes:
        _draw_box(canvas, box, kind)
    for box, kind, label in boxes:
        if label:
            _draw_box_label(canvas, box, kind, label, font)
    return canvas.markup()


def _draw_box(canvas: Canvas, box: SampleBox, kind: str) -> None:
    x1, y1, x2, y2 = box.xyxy
    width, height = max(0.0, x2 - x1), max(0.0, y2 - y1)
    # The dark stroke below keeps the coloured one visible on any picture.
    for class_ in ("halo", f"box b-{kind}"):
        canvas.add("rect", x=x1, y=y1, width=width, height=height, class_=class_)


def _draw_box_label(canvas: Canvas, box: SampleBox, kind: str, label: str, font: float) -> None:
    """The label above the box, pushed back into the picture where it would stick out."""
    text = shortened(label, 26)
    width, height = 0.66 * font * len(text) + 0.5 * font, 1.3 * font
    x = max(0.0, min(box.xyxy[0], canvas.width - width))
    y = max(0.0, min(box.xyxy[1] - height, canvas.height - height))
    group = canvas.add("g", hover=label)
    canvas.add("rect", group, x=x, y=y, width=width, height=height, class_=f"tag b-{kind}")
    canvas.add(
        "text",
        group,
        text=text,
        x=x + 0.25 * font,
        y=y + 0.97 * font,
        class_="tag-text",
        font_size=font,
    )
