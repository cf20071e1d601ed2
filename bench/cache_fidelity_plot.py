"""The picture of ``cache_fidelity.json``: how much of the teacher is left in so many bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = {"int4": "#1a7f37", "int8": "#1f6feb", "fp16": "#b35900"}
LABELLED = (8, 16, 32, 64, 128)  # numbers of components; the widest is labelled too
ENOUGH = 0.98


def curve(record: dict[str, Any], stride: str, numbers: str) -> list[dict[str, Any]]:
    """PHI-S points of one level by size, each number of components once."""
    points = {
        row["levels"][stride]["channels"]: row["levels"][stride]
        for row in record["rows"]
        if row["space"] == "phi_s" and row["numbers"] == numbers
    }
    return [points[channels] for channels in sorted(points)]


def draw(record: dict[str, Any], picture: Path) -> None:
    """A panel a level: kilobytes of a view at 640 px against cosine, a line a number format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    strides = list(record["teacher_levels"])
    figure, axes = pyplot.subplots(
        1, len(strides), figsize=(4.3 * len(strides), 4.6), sharey=True, squeeze=False
    )
    for axis, stride in zip(axes[0], strides, strict=True):
        draw_level(axis, record, stride)
    axes[0][0].set_ylabel("mean cosine with the live teacher, centred features")
    axes[0][-1].legend(loc="lower right", frameon=False)
    figure.suptitle(
        "Feature cache, size against fidelity: K principal components (PHI-S) in three number "
        f"formats\n{record['teacher']['name']}, {record['heldout_images']} held-out photographs, "
        f"{record['image_size']} px; the last point of a line keeps all channels",
        fontsize=10,
    )
    figure.tight_layout()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110, facecolor="white")
    pyplot.close(figure)


def draw_level(axis: Any, record: dict[str, Any], stride: str) -> None:
    """One panel."""
    from matplotlib import ticker

    for numbers, colour in COLOURS.items():
        points = curve(record, stride, numbers)
        sizes = [point["bytes_per_view"]["640"] / 1000 for point in points]
        means = [point["cosine_centred_mean"] for point in points]
        axis.plot(sizes, means, "o-", color=colour, markersize=4, label=numbers)
        if numbers == "fp16":
            label_components(axis, points, sizes, means)
    axis.set_xscale("log")
    axis.margins(x=0.16)
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda size, _: f"{size:g}"))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())
    axis.axhline(ENOUGH, color="0.5", linewidth=0.8, linestyle="--")
    axis.annotate(
        f"{ENOUGH}", (0.01, ENOUGH), (0, -10), xycoords=("axes fraction", "data"),
        textcoords="offset points", fontsize=8, color="0.4",
    )  # fmt: skip
    axis.set_ylim(0, 1.04)
    axis.set_title(f"stride {stride}: {record['teacher_levels'][stride]} channels", fontsize=10)
    axis.set_xlabel("kB of the level, one view at 640 px")
    axis.grid(alpha=0.25, linewidth=0.5)


def label_components(
    axis: Any, points: list[dict[str, Any]], sizes: list[float], means: list[float]
) -> None:
    """K beside some points of a line."""
    for point, size, mean in zip(points, sizes, means, strict=True):
        if point["channels"] in LABELLED or point is points[-1]:
            axis.annotate(
                f"K={point['channels']}", (size, mean), (5, -9),
                textcoords="offset points", ha="left", fontsize=8, color="0.3",
            )  # fmt: skip
