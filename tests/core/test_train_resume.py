"""A detector training that was stopped goes on, and a damaged checkpoint starts it anew."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from core.conftest import MakeConfig

import edgekd
from edgekd.config import Config
from edgekd.train import detector_trainer
from edgekd.train.detector_trainer import HandoverTrainer
from edgekd.train.trainer import TrainResult
from edgekd_bench.ultralytics_checkpoint import load_detector


class PowerCutError(Exception):
    pass


@pytest.fixture
def stopped(
    make_config: MakeConfig, labelled_set: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Config, Path]:
    """A training of 6 epochs, saved after each and cut off in its fourth; and its backbone."""
    config = make_config(f"data={labelled_set}", "train.epochs=6", "train.val_every=2")
    backbone = edgekd.distill.run(config).backbone
    monkeypatch.setattr(detector_trainer, "_SAVE_SECONDS", 0.0)
    original = HandoverTrainer.preprocess_batch

    def cut_off(self: HandoverTrainer, batch: dict[str, object]) -> dict[str, object]:
        if self.epoch == 3:
            raise PowerCutError
        return original(self, batch)

    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(HandoverTrainer, "preprocess_batch", cut_off)
        edgekd.train.run(config, backbone_weights=backbone)
    return config, backbone


def epochs_in(result: TrainResult) -> list[int]:
    with result.results_csv.open() as stream:
        return [int(float(row["epoch"])) for row in csv.DictReader(stream)]


def epochs_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epochs (from 0) the trainer works through from now on."""
    seen: list[int] = []
    original = HandoverTrainer.validate

    def spy(self: HandoverTrainer) -> object:
        seen.append(self.epoch)
        return original(self)

    monkeypatch.setattr(HandoverTrainer, "validate", spy)
    return seen


def test_it_goes_on_where_it_was(
    stopped: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, backbone = stopped
    folder = config.run_dir / "train" / "distilled-seed0"
    with (folder / "results.csv").open("a") as stream:
        stream.write("4" + ",0" * 20 + "\n")  # an epoch that was logged and not saved
    seen = epochs_run(monkeypatch)
    loaded: list[object] = []
    monkeypatch.setattr(detector_trainer, "load_backbone", lambda *a: loaded.append(a))
    result = edgekd.train.run(config, backbone_weights=backbone, resume=True)
    assert seen == [3, 4, 5]
    assert epochs_in(result) == [1, 2, 3, 4, 5, 6]
    assert not loaded  # the file's backbone must not overwrite the trained one
    assert load_detector(result.detector).names == {0: "even", 1: "odd"}


def test_without_resume_it_starts_anew(
    stopped: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, backbone = stopped
    seen = epochs_run(monkeypatch)
    result = edgekd.train.run(config, backbone_weights=backbone)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert epochs_in(result) == [1, 2, 3, 4, 5, 6]
    assert result.handover is not None


def test_a_damaged_checkpoint_starts_it_anew(
    stopped: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, backbone = stopped
    last = config.run_dir / "train" / "distilled-seed0" / "weights" / "last.pt"
    last.write_bytes(last.read_bytes()[:5000])
    seen = epochs_run(monkeypatch)
    edgekd.train.run(config, backbone_weights=backbone, resume=True)
    assert seen[0] == 0


def test_a_finished_training_is_not_continued(
    make_config: MakeConfig, labelled_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(f"data={labelled_set}")
    edgekd.train.run(config)
    seen = epochs_run(monkeypatch)
    edgekd.train.run(config, resume=True)
    assert seen == [0]


def test_checkpoints_are_rare_and_whole(
    make_config: MakeConfig, labelled_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    original = detector_trainer.DetectionTrainer.save_model

    def spy(self: HandoverTrainer) -> bool:
        written.append(self.last.name)
        return bool(original(self))

    monkeypatch.setattr(detector_trainer.DetectionTrainer, "save_model", spy)
    result = edgekd.train.run(make_config(f"data={labelled_set}", "train.epochs=5"))
    assert written == ["last.partial"]
    assert not list(result.detector.parent.rglob("*.partial"))


def test_the_best_epoch_can_be_kept(make_config: MakeConfig, labelled_set: Path) -> None:
    config = make_config(f"data={labelled_set}", "train.epochs=3", "train.checkpoint=best")
    result = edgekd.train.run(config)
    assert load_detector(result.detector).names == {0: "even", 1: "odd"}
