"""The loop is judged by its own stages: the arithmetic, the timing, and when it is left out."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import pytest
import torch
from core.conftest import MakeConfig
from lightning_fabric import Fabric
from rich.console import Console

import edgekd
from edgekd.data.batches import Batch
from edgekd.distill.efficiency import (
    Efficiency,
    Pace,
    StageRates,
    batches_to_time,
    time_stages,
)
from edgekd.distill.taught_batches import TaughtBatch, TaughtBatches

FABRIC = Fabric(accelerator="cpu", devices=1)
ALONE = StageRates(data=210, teacher=60, student=40)


class SlowSource:
    """Batches of four, each stage as slow as it is told to be (seconds a batch)."""

    batches_per_epoch, batch_size = 3, 4

    def __init__(self, data: float, teacher: float) -> None:
        self._data, self._teacher = data, teacher

    @property
    def loader(self) -> SlowSource:
        return self

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        del epoch
        for _ in range(start_batch, self.batches_per_epoch):
            time.sleep(self._data)
            yield Batch(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))

    def prepare(self, *, resumed: bool) -> None:
        del resumed

    def targets(self, batch: Batch, images: torch.Tensor) -> dict[int, torch.Tensor]:
        del batch
        time.sleep(self._teacher)
        return {16: images}

    def heldout(self) -> Iterator[tuple[torch.Tensor, dict[int, torch.Tensor]]]:
        return iter(())


def test_the_slowest_stage_is_the_bound_and_on_a_cpu_their_sum_too() -> None:
    efficiency = Efficiency(loop=20, alone=ALONE, shared=True, num_batches=2)
    assert ALONE.slowest == "student"
    assert efficiency.of_slowest == 0.5
    assert ALONE.in_turn == pytest.approx(1 / (1 / 210 + 1 / 60 + 1 / 40))
    assert efficiency.of_in_turn == pytest.approx(20 * (1 / 210 + 1 / 60 + 1 / 40))
    assert efficiency.in_words() == (
        "efficiency 0.50 (0.93 of what one CPU reaches with one stage after the other, "
        "22 images/s): loop 20 images/s; alone: data 210, teacher 60, student 40 (slowest)"
    )
    apart = Efficiency(loop=36, alone=ALONE, shared=False, num_batches=2).in_words()
    assert apart.startswith("efficiency 0.90: loop 36 images/s; alone: data 210, ")


def test_each_stage_is_timed_alone() -> None:
    taught = TaughtBatches(SlowSource(data=0.01, teacher=0.02), FABRIC)
    learned: list[TaughtBatch] = []

    def learn(batch: TaughtBatch) -> None:
        learned.append(batch)
        time.sleep(0.04)

    rates = time_stages(taught, learn, 5, FABRIC)
    assert len(learned) == 6
    # A busy machine can only add to the seconds of each stage.
    assert 400 >= rates.data > rates.teacher > rates.student
    assert rates.teacher <= 200 and 100 >= rates.student > 20
    assert rates.slowest == "student"


def pace(*epochs: tuple[int, int, float]) -> Pace:
    made = Pace()
    for epoch in epochs:
        made.add(*epoch)
    return made


def test_the_first_epoch_does_not_count_where_there_are_others() -> None:
    assert pace((100, 10, 10.0)).images_per_second == 10
    assert pace((100, 10, 10.0), (100, 10, 2.0), (100, 10, 3.0)).images_per_second == 40


@pytest.mark.parametrize(
    ("made", "count", "reason"),
    [
        (pace((190, 19, 19.0)), 0, "19 steps were done, 20 are needed"),
        (pace((320, 20, 2.0)), 2, ""),  # 0.1 s a step: two batches cost next to nothing
        (pace((320, 20, 40.0)), 0, "a step takes 2.0 s"),
        (pace((3200, 200, 400.0)), 2, ""),  # the same step in a longer run: 6 s of 400
        (pace((3200, 1000, 100.0)), 20, ""),  # 3 s would pay for 29
        (pace((3200, 100, 50.0)), 2, ""),  # 1.5 s
        (pace((3200, 1000, 500.0)), 9, ""),  # never more than 5 s
    ],
)
def test_how_much_is_timed_follows_from_what_it_costs(made: Pace, count: int, reason: str) -> None:
    found, why = batches_to_time(made)
    assert found == count
    assert why.startswith(reason) and bool(why) == (count == 0)


def test_a_run_ends_with_its_efficiency_and_its_files_stay_as_saved(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekd.distill import efficiency, finish

    monkeypatch.setattr(efficiency, "_MOST_SECONDS", 1e6)  # a busy machine's steps are slow
    config = make_config("distill.epochs=10")
    saved: dict[str, bytes] = {}
    original = finish.time_stages

    def files() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in config.run_dir.rglob("*.pt")}

    def spy(*arguments: object) -> StageRates:
        saved.update(files())
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(finish, "time_stages", spy)
    text = io.StringIO()
    result = edgekd.distill.run(config, console=Console(file=text, width=250))
    assert saved and saved == files()
    assert result.efficiency is not None
    assert result.efficiency.in_words() in text.getvalue()
    record = json.loads((config.run_dir / "distill" / "efficiency.json").read_text())
    assert record["efficiency"] == pytest.approx(record["loop"] / min(record["alone"].values()))
    assert set(record["alone"]) == {"data", "teacher", "student"}
    assert all(rate > 0 for rate in record["alone"].values())


def test_a_short_run_says_why_it_was_not_judged(make_config: MakeConfig) -> None:
    config = make_config("distill.epochs=2")
    text = io.StringIO()
    result = edgekd.distill.run(config, console=Console(file=text, width=250))
    assert result.efficiency is None
    assert "efficiency not measured: 4 steps were done, 20 are needed" in text.getvalue()
    record = json.loads((config.run_dir / "distill" / "efficiency.json").read_text())
    assert record == {"not_measured": "4 steps were done, 20 are needed"}
