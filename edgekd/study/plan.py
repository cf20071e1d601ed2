"""Which trainings a study consists of.

Every init meets the same labels, the same recipe and the same seeds, so differences are taken pair
by pair. Subsets are nested: the labels of a smaller fraction are among those of a larger one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.config import Config
from edgekd_bench.errors import InputError

BASELINE = "baseline"


@dataclass(frozen=True)
class Fraction:
    """A share of the labels, and how long it is trained on."""

    share: float
    num_labels: int
    epochs: int


@dataclass(frozen=True)
class Cell:
    """One training: its own configuration, and the weights it begins with."""

    init: str
    fraction: Fraction
    seed: int
    backbone: Path | None
    config: Config

    @property
    def name(self) -> str:
        """For progress lines."""
        return f"{self.init}, {self.fraction.num_labels} labels, seed {self.seed}"


def fractions_of(config: Config, num_train: int) -> list[Fraction]:
    """The fractions in order, fewest labels first.

    Raises:
        InputError: two fractions are the same number of images, or one is less than an image.
    """
    options = config.train
    found = []
    for share in sorted(config.study.fractions):
        num_labels = round(share * num_train)
        if num_labels < 1:
            raise InputError(f"study.fractions: {share} of {num_train} images is not one image")
        longest = max(config.study.max_epochs, options.epochs)
        epochs = min(longest, round(options.epochs * num_train / num_labels))
        found.append(Fraction(share, num_labels, epochs))
    if len({f.num_labels for f in found}) < len(found):
        raise InputError(
            f"study.fractions: two of {list(config.study.fractions)} are equally many of the "
            f"{num_train} train images; leave one out"
        )
    return found


def cells_of(
    config: Config, fractions: Sequence[Fraction], backbones: dict[str, Path]
) -> Iterator[Cell]:
    """All trainings: per fraction and seed the baseline first, then each init.

    Args:
        config: of the study.
        fractions: from `fractions_of`.
        backbones: weights of each init but the baseline.
    """
    inits: dict[str, Path | None] = {BASELINE: None, **backbones}
    for fraction in fractions:
        for seed in config.train.seeds:
            for init, backbone in inits.items():
                yield Cell(init, fraction, seed, backbone, _own_config(config, fraction, init))


def _own_config(config: Config, fraction: Fraction, init: str) -> Config:
    """The study's configuration with the cell's labels, length and folder."""
    train = config.train.model_copy(
        update={
            "num_labeled": fraction.num_labels,
            "epochs": fraction.epochs,
            "val_every": fraction.epochs,  # the last epoch is what is measured
        }
    )
    folder = config.run_dir / "study" / f"labels{fraction.num_labels}"
    return config.model_copy(update={"runs_dir": folder, "name": init, "train": train})
