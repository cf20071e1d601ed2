"""Suggestions rest on measurements, leave out only what cannot fit, and claim nothing else."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.fake_runner import FakeRunner
from pydantic import ValidationError
from rich.console import Console

from edgekd_bench.suggestion import search
from edgekd_bench.suggestion import timing as timing_module
from edgekd_bench.suggestion.cache import TimingCache
from edgekd_bench.suggestion.catalog import FAMILIES, SCALES
from edgekd_bench.suggestion.ranking import rank
from edgekd_bench.suggestion.result import Choice, Option, Suggestion, Timing
from edgekd_bench.suggestion.settings import SuggestionSettings
from edgekd_bench.suggestion.table import headline, suggestion_table
from edgekd_bench.suggestion.timing import StudentTimer, Timed


def _timing(ms: float, **changes: Any) -> Timing:
    facts = {"p50_ms": ms * 0.95, "p90_ms": ms, "p99_ms": ms * 1.1, "num_timed": 64}
    facts |= {"size_mb": 5.0, "num_params": 2_600_000, "measured_at": "2026-01-01T00:00:00+00:00"}
    return Timing.model_validate(facts | changes)


def _choice(
    student: str, size: int = 320, precision: str = "fp32", backend: str = "onnxruntime"
) -> Choice:
    return Choice.model_validate(
        {
            "family": student[:-1],
            "scale": student[-1],
            "image_size": size,
            "precision": precision,
            "backend": backend,
        }
    )


class _Builder:
    """Writes a name for a network and counts."""

    def __init__(self) -> None:
        self.built: list[str] = []

    def build(self, student: str, image_size: int, folder: Path) -> Path:
        self.built.append(f"{student}-{image_size}")
        path = folder / f"{student}-{image_size}.onnx"
        path.write_text("fp32")
        return path

    def convert(self, fp32: Path, precision: str, backend: str) -> Path:
        assert fp32.exists() and backend
        path = fp32.with_suffix(f".{precision}.onnx")
        path.write_text(precision)
        return path

    def pictures(self, folder: Path) -> Sequence[Path]:
        return [folder / "picture.jpg"]


class _Timer:
    """Says what each combination takes instead of running it."""

    def __init__(self, cost: Callable[[Choice], float]) -> None:
        self.cost = cost
        self.groups: list[list[str]] = []
        self.wandered = 0.0

    def __call__(self, settings: SuggestionSettings, pictures: Sequence[Path]) -> _Timer:
        assert len(pictures) == 1 and settings.target_ms > 0
        return self

    def __enter__(self) -> _Timer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def time_group(
        self, backend: str, group: Sequence[Timed], on_round: Callable[[], None] = lambda: None
    ) -> dict[Choice, Timing]:
        assert all(timed.choice.backend == backend for timed in group)
        assert all(timed.file.read_text() == timed.choice.precision for timed in group)
        on_round()
        self.groups.append([timed.choice.key for timed in group])
        return {timed.choice: _timing(self.cost(timed.choice)) for timed in group}

    def drift(self) -> float:
        return self.wandered


def _cost(choice: Choice) -> float:
    """A plausible machine: four times the pixels, four times as long; int8 half as long."""
    scale = {"n": 1.0, "s": 2.5, "m": 7.0}[choice.scale]
    return scale * (choice.image_size / 320) ** 2 * (0.5 if choice.precision == "int8" else 1) * 4


def _run(tmp_path: Path, timer: _Timer, builder: _Builder | None = None, **settings: Any) -> Any:
    facts = {"target_ms": 5, "families": ("yolo11", "yolo26")} | settings
    return search.run(
        SuggestionSettings.model_validate({k: v for k, v in facts.items() if k != "fresh"}),
        builder or _Builder(),
        cache_folder=tmp_path / "cache",
        fresh=bool(settings.get("fresh")),
        timer=timer,
    )


def _statuses(suggestion: Suggestion) -> dict[str, str]:
    return {option.choice.key: option.status for option in suggestion.options}


def test_small_ones_go_first_and_what_cannot_fit_is_not_tried(tmp_path: Path) -> None:
    timer, builder = _Timer(_cost), _Builder()
    found = _run(tmp_path, timer, builder, image_sizes=(320, 640), precisions=("fp32", "int8"))
    # n: 4 ms at 320, 16 at 640; s: 10 at 320. Twice the budget of 5 ms rules out what is larger.
    assert timer.groups == [
        ["yolo11n-320-fp32-onnxruntime", "yolo26n-320-fp32-onnxruntime"],
        ["yolo11n-320-int8-onnxruntime", "yolo26n-320-int8-onnxruntime"],
        ["yolo11n-640-fp32-onnxruntime", "yolo26n-640-fp32-onnxruntime"],
        ["yolo11n-640-int8-onnxruntime", "yolo26n-640-int8-onnxruntime"],
        ["yolo11s-320-fp32-onnxruntime", "yolo26s-320-fp32-onnxruntime"],
        ["yolo11s-320-int8-onnxruntime", "yolo26s-320-int8-onnxruntime"],
        ["yolo11s-640-int8-onnxruntime", "yolo26s-640-int8-onnxruntime"],
        ["yolo11m-320-fp32-onnxruntime", "yolo26m-320-fp32-onnxruntime"],
    ]  # 28 ms: not even int8 would bring that down to 5
    statuses = _statuses(found)
    assert statuses["yolo11n-320-fp32-onnxruntime"] == "meets"
    assert statuses["yolo11s-320-int8-onnxruntime"] == "meets"  # 5 ms: the budget is kept
    assert statuses["yolo11s-320-fp32-onnxruntime"] == "over"
    assert statuses["yolo26m-640-int8-onnxruntime"] == "skipped"
    reason = next(o.reason for o in found.options if o.choice == _choice("yolo11s", 640))
    assert reason == "misses the budget: yolo11n at 640 px in fp32 takes 3.0 times as long"
    assert "yolo11m-640" not in builder.built


def test_int8_is_not_built_where_fp32_misses_by_four(tmp_path: Path) -> None:
    found = _run(tmp_path, _Timer(lambda _: 22.0), scales=("n",), image_sizes=(320,))
    assert _statuses(found)["yolo11n-320-int8-onnxruntime"] == "skipped"
    found = _run(tmp_path / "b", _Timer(lambda _: 19.0), scales=("n",), image_sizes=(320,))
    assert _statuses(found)["yolo11n-320-int8-onnxruntime"] == "over"


def test_each_backend_is_ruled_out_by_its_own_figures(tmp_path: Path) -> None:
    timer = _Timer(lambda c: 1.0 if c.backend == "openvino" else 100.0)
    found = _run(
        tmp_path,
        timer,
        backends=("onnxruntime", "openvino"),
        image_sizes=(320, 640),
        precisions=("fp32",),
    )
    statuses = _statuses(found)
    assert statuses["yolo11m-640-fp32-openvino"] == "meets"
    assert statuses["yolo11n-640-fp32-onnxruntime"] == "skipped"


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    small = {"scales": ("n",), "image_sizes": (320,), "precisions": ("fp32",)}
    first = _run(tmp_path, _Timer(_cost), **small)
    again, builder = _Timer(_cost), _Builder()
    second = _run(tmp_path, again, builder, **small)
    assert not again.groups and not builder.built and second.options == first.options
    assert second.cache == first.cache and Path(first.cache).is_file()
    wider = _Timer(_cost)
    _run(tmp_path, wider, **(small | {"image_sizes": (320, 352)}))
    assert wider.groups == [["yolo11n-352-fp32-onnxruntime", "yolo26n-352-fp32-onnxruntime"]]
    fresh = _Timer(_cost)
    _run(tmp_path, fresh, fresh=True, **small)
    assert len(fresh.groups) == 1
    kept = _Timer(_cost)
    _run(tmp_path, kept, **(small | {"image_sizes": (320, 352)}))
    assert not kept.groups, "what was not asked for again is still known"
    limited = _Timer(_cost)
    threads = _run(tmp_path, limited, threads=1, **small)
    assert limited.groups and threads.cache != first.cache, "other threads are another machine"
    Path(first.cache).write_text("{ torn")
    torn = _Timer(_cost)
    _run(tmp_path, torn, **small)
    assert torn.groups


def test_a_few_calls_are_not_enough_for_another_budget(tmp_path: Path) -> None:
    small = {"scales": ("n",), "image_sizes": (320,), "precisions": ("fp32",)}

    class Hasty(_Timer):
        def time_group(self, *args: Any, **kwargs: Any) -> dict[Choice, Timing]:
            found = super().time_group(*args, **kwargs)
            return {
                c: t.model_copy(update={"rough": True, "num_timed": 3}) for c, t in found.items()
            }

    _run(tmp_path, Hasty(lambda _: 30.0), target_ms=5, **small)
    same = _Timer(lambda _: 30.0)
    found = _run(tmp_path, same, target_ms=6, **small)
    assert not same.groups and "about 28 ms, from 3 calls" in found.options[0].reason
    larger = _Timer(lambda _: 30.0)
    _run(tmp_path, larger, target_ms=40, **small)
    assert larger.groups, "three calls do not decide a budget they might meet"


def test_time_runs_out_and_the_next_run_goes_on(tmp_path: Path) -> None:
    def slow(_: Choice) -> float:
        time.sleep(0.02)
        return 1.0

    small = {"image_sizes": (320,), "precisions": ("fp32",)}
    found = _run(tmp_path, _Timer(slow), max_minutes=0.01 / 60, **small)
    statuses = _statuses(found)
    assert statuses["yolo11n-320-fp32-onnxruntime"] == "meets"
    assert statuses["yolo11m-320-fp32-onnxruntime"] == "not measured"
    rest = _Timer(lambda _: 1.0)
    found = _run(tmp_path, rest, **small)
    assert len(rest.groups) == 2 and set(_statuses(found).values()) == {"meets"}


def _ranked(*pairs: tuple[Choice, Timing], target_ms: float = 10) -> list[Option]:
    timings = dict(pairs)
    return rank(list(timings), timings, {}, target_ms=target_ms, percentile=90)


def test_the_front_compares_like_with_like() -> None:
    options = _ranked(
        (_choice("yolo11n"), _timing(5)),  # 39.5, dominated by yolo26n
        (_choice("yolo26n"), _timing(4)),  # 40.1
        (_choice("yolo26s"), _timing(8)),  # 47.8, slower and better
        (_choice("yolo11n", precision="int8"), _timing(2)),
        (_choice("yolo26n", 640), _timing(9)),
        (_choice("yolov8m"), _timing(11)),  # over budget dominates nobody
        (_choice("yolo26n", backend="openvino"), _timing(3)),
    )
    front = [option.choice.key for option in options if option.pareto]
    assert front == [
        "yolo26n-640-fp32-onnxruntime",
        "yolo26s-320-fp32-onnxruntime",
        "yolo26n-320-fp32-openvino",
        "yolo11n-320-int8-onnxruntime",
    ]
    assert [option.pareto for option in options] == [True] * 4 + [False] * 3
    assert options[-1].status == "over"


def test_the_whole_interval_must_be_within_the_budget() -> None:
    border = _timing(9.5, intervals_ms={"p90_ms": (9.0, 10.5)})
    clear = _timing(9.5, intervals_ms={"p90_ms": (9.0, 10.0)})
    above = _timing(10.5, intervals_ms={"p90_ms": (10.1, 11.0)})
    statuses = [_ranked((_choice("yolo11n"), t))[0].status for t in (border, clear, above)]
    assert statuses == ["borderline", "meets", "over"]
    assert not _ranked((_choice("yolo11n"), border))[0].pareto


def test_the_table_fits_and_says_what_the_figures_are(tmp_path: Path) -> None:
    timer = _Timer(_cost)
    timer.wandered = 0.12
    found = _run(tmp_path, timer, families=tuple(FAMILIES))
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(suggestion_table(found))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in text.splitlines()) <= 100
    for words in ("yolo26n", "drifted", "12%", "as the makers give it", "docs.ultralytics.com"):
        assert words in text
    assert "network alone" in headline(found)
    none = _run(tmp_path / "b", _Timer(lambda _: 99.0), scales=("n",))
    assert headline(none).startswith("None of")
    assert Suggestion.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"families": ("yolo27",)}, "did you mean 'yolo26'"),
        ({"scales": ("xl",)}, "unknown scale 'xl'"),
        ({"image_sizes": (300,)}, "multiple of 32"),
        ({"precisions": ("fp64",)}, "fp16"),
        ({"target_ms": 0}, "greater than 0"),
        ({"percentile": 80}, "50, 90 or 99"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SuggestionSettings.model_validate({"target_ms": 5} | wrong)


def test_published_figures_grow_with_the_scale() -> None:
    for family in FAMILIES.values():
        rows = [family.scales[scale] for scale in SCALES]
        for field in ("map50_95", "params_m", "gflops"):
            figures = [getattr(row, field) for row in rows]
            assert figures == sorted(figures) and len(set(figures)) == len(figures)
        assert family.source.startswith("https://")


def test_a_machine_is_its_hardware_and_software_not_its_load(tmp_path: Path) -> None:
    machine = {"device_name": "Board", "cpu": "A", "load_average": [1.0], "memory_gb": 8}
    same = TimingCache(tmp_path, machine | {"load_average": [9.0]}, device="cpu")
    one = TimingCache(tmp_path, machine, device="cpu")
    assert one.path == same.path and one.path.name.startswith("board-")
    others = [machine | {"cpu": "B"}, machine | {"libraries": {"onnxruntime": "2"}}]
    paths = {TimingCache(tmp_path, other, device="cpu").path for other in others}
    paths.add(TimingCache(tmp_path, machine, device="cuda").path)
    assert len(paths | {one.path}) == 4


class _Sleeper(FakeRunner):
    """A network that takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__("A", [])
        self.seconds = seconds

    def forward(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        return super().forward(batch)


def test_groups_are_timed_against_an_anchor_and_the_hopeless_only_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    Image.new("RGB", (80, 60), "grey").save(tmp_path / "picture.jpg")
    opened: list[str] = []

    def open_runner(file: Path, *_: object) -> _Sleeper:
        opened.append(file.name)
        return _Sleeper(0.05 if "slow" in file.name else 0.001)

    monkeypatch.setattr(timing_module, "open_runner", open_runner)
    settings = SuggestionSettings(target_ms=10, min_seconds=0, min_count=20, warmup=1)
    groups = [
        [
            Timed(_choice("yolo11n"), tmp_path / "quick"),
            Timed(_choice("yolo11m"), tmp_path / "slow"),
        ],
        [Timed(_choice("yolo11s"), tmp_path / "quick2")],
    ]
    with StudentTimer(settings, [tmp_path / "picture.jpg"]) as timer:
        first = timer.time_group("onnxruntime", groups[0])
        second = timer.time_group("onnxruntime", groups[1])
        drift = timer.drift()
    quick, slow = first[_choice("yolo11n")], first[_choice("yolo11m")]
    assert slow.rough and slow.num_timed == 3 and slow.p50_ms >= 50
    assert slow.overhead_p50_ms is None
    assert not quick.rough and quick.num_timed == 20 and 1 <= quick.p50_ms < 50
    assert quick.overhead_p50_ms is not None
    assert second[_choice("yolo11s")].num_timed == 20
    assert opened == ["quick", "slow", "quick", "quick2"], "the anchor is opened once"
    assert drift >= 0
