"""``edgekd run``: distil, train baseline and distilled, export, benchmark, report.

Stages hand files to each other and never call each other; this is where the order of a run is
known. Each is skipped when it is done and its inputs are unchanged, so a run that was stopped
anywhere goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgekd.config import Config, dump_config
from edgekd.files import require_writable
from edgekd.run_stages import RunStages
from edgekd_bench import report
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import write_text_atomically
from edgekd_bench.record import BenchRecord
from edgekd_bench.ultralytics_setup import prepare_ultralytics


@dataclass(frozen=True)
class RunResult:
    """The files a whole run ends in, and its record."""

    results: Path
    report: Path
    backbone: Path
    record: BenchRecord


def run(config: Config, *, console: Console | None = None) -> RunResult:
    """Run every stage that is not done yet.

    Raises:
        InputError: bad input to any stage.
        GateError: the hand-over or the parity gate failed.
        StoppedError: stopped by the user; start it again to go on.
    """
    console = console or Console(quiet=True)
    config = prepare(config, console)
    stages = RunStages(config, console)
    backbone = stages.distill()
    exported = []
    for seed in config.train.seeds:
        for weights in (None, backbone):
            detector = stages.train(weights, seed)
            exported.append((stages.export(detector), detector, weights is None))
    record = stages.bench(
        [f for onnx, pt, base in exported if not base for f in (onnx, pt)],
        [f for onnx, pt, base in exported if base for f in (onnx, pt)],
    )
    page = report.run(config.run_dir)
    return RunResult(config.run_dir / "results.json", page.path, backbone, record)


def prepare(config: Config, console: Console) -> Config:
    """Check what can be checked before hours of work, and write down the resolved options.

    Returns:
        The configuration with its labelled data.

    Raises:
        InputError: the run folder cannot be written, no labelled data, or a bad train argument.
    """
    require_writable(config.run_dir)
    config = with_built_in_data(config, console)
    if config.data is None:
        raise InputError("no labelled data: give data=FILE (a data.yaml or a coco.yaml)")
    write_text_atomically(config.run_dir / "config.yaml", dump_config(config))
    _refuse_early(config)
    return config


def _refuse_early(config: Config) -> None:
    """What only the training would notice: hours of distillation should not come before it."""
    prepare_ultralytics((config.run_dir / "ultralytics").resolve())
    from edgekd.train.ultralytics_arguments import check_passthrough

    check_passthrough(config.train.ultralytics)


def with_built_in_data(config: Config, console: Console | None = None) -> Config:
    """Draw the dice scenes where a config asks for them, and point the config at them.

    Raises:
        InputError: built-in scenes and own data are both given.
    """
    scenes = config.dice_scenes
    if scenes is None:
        return config
    if config.data is not None or config.unlabeled.manifest is not None:
        raise InputError(
            "dice_scenes draws its own data; set dice_scenes=null to use data and unlabeled"
        )
    from edgekd.data.dice_scenes import write_dice_scenes

    folder = config.run_dir / "dice_scenes"
    if console is not None:
        total = scenes.num_unlabeled + scenes.num_train + scenes.num_val
        console.print(f"dice scenes: {total} images of {scenes.image_size} px in {folder}")
    made = write_dice_scenes(
        folder,
        num_unlabeled=scenes.num_unlabeled,
        num_train=scenes.num_train,
        num_val=scenes.num_val,
        image_size=scenes.image_size,
        seed=scenes.seed,
    )
    unlabeled = config.unlabeled.model_copy(update={"manifest": made.unlabeled_yaml})
    return config.model_copy(
        update={"data": made.data_yaml, "unlabeled": unlabeled, "dice_scenes": None}
    )
