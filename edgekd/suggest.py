"""``edgekd suggest``: which detectors meet a latency budget here, before anyone trains one.

Networks are built in a process of their own: one that has loaded torch is no place to measure in,
its threads and its allocator are set up for other work.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd_bench.backends import Backend
from edgekd_bench.runner import Precision
from edgekd_bench.suggestion import search
from edgekd_bench.suggestion.result import Suggestion
from edgekd_bench.suggestion.settings import SuggestionSettings
from edgekd_export.settings import Int8Backend

if TYPE_CHECKING:
    from rich.console import Console


class _Builder:
    """Builds untrained networks in another process."""

    def __init__(self, pool: ProcessPoolExecutor, settings: SuggestionSettings) -> None:
        self._pool = pool
        self._device = settings.device
        self._num_classes = settings.num_classes

    def build(self, student: str, image_size: int, folder: Path) -> Path:
        return self._pool.submit(_build, student, image_size, folder, self._num_classes).result()

    def convert(self, fp32: Path, precision: Precision, backend: Backend) -> Path:
        layout: Int8Backend = "tensorrt"  # ONNX Runtime on a GPU takes it too
        if backend == "openvino":
            layout = "openvino"
        elif backend == "onnxruntime" and self._device == "cpu":
            layout = "onnxruntime"
        return self._pool.submit(_convert, fp32, precision, layout).result()

    def pictures(self, folder: Path) -> Sequence[Path]:
        return self._pool.submit(_pictures, folder).result()


def run(
    settings: SuggestionSettings,
    *,
    cache_folder: Path = Path("runs/suggest"),
    fresh: bool = False,
    console: Console | None = None,
) -> Suggestion:
    """Time untrained detectors on this machine and hold them against a budget.

    Args:
        settings: which detectors, and the budget.
        cache_folder: where measurements of this machine are kept.
        fresh: measure again what is known.
        console: where progress is shown; None: nowhere.

    Raises:
        InputError: a network that cannot be built, or not run on this backend.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return search.run(
            settings,
            _Builder(pool, settings),
            cache_folder=cache_folder,
            fresh=fresh,
            progress=console,
        )


# Called in the other process, which alone loads torch.


def _build(student: str, image_size: int, folder: Path, num_classes: int) -> Path:
    from edgekd_export.untrained import build_untrained

    return build_untrained(student, image_size, folder, num_classes=num_classes)


def _convert(fp32: Path, precision: Precision, layout: Int8Backend) -> Path:
    from edgekd_export.untrained import convert_untrained

    return convert_untrained(fp32, precision, fp32.parent / "pictures", int8_for=layout)


def _pictures(folder: Path) -> Sequence[Path]:
    from edgekd_export.untrained import write_pictures

    return write_pictures(folder / "pictures")
