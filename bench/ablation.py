"""Which options of a distillation matter: one distillation for each variant, one study of them all.

Each variant is the configuration with a few options changed. All are distilled on the same images,
then every backbone, and the baseline without one, is fine-tuned with the same labels and seeds; the
first variant is what the others are compared with. This is how the defaults were chosen.

    python bench/ablation.py CONFIG bench/ablations/options.yaml [KEY=VALUE ...] --out FOLDER

What is done already is not done again, so a stopped ablation goes on and a variant can be added.
The record is the study's, with each variant's options, the cosine its student reached at P4 on
held-out images, and the speed of its loop and of the loop's stages. There is a single distillation
of each variant: one that repeats the first with another seed shows how much of a difference is
chance.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from edgekd.config import Config, load_config
from edgekd.distill.metrics_log import read_metrics
from edgekd.distill.result import StoppedError
from edgekd.pipeline import prepare
from edgekd.run_stages import LabelledData, RunStages
from edgekd.study import run as run_study
from edgekd.study.plan import BASELINE
from edgekd.study.record import StudyRecord
from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import write_text_atomically
from edgekd_bench.record import Interval


class Ablation(BaseModel):
    """What is varied: a file under ``bench/ablations``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str
    base: list[str] = Field([], description="overrides that all variants share")
    variants: dict[str, list[str]] = Field(min_length=2, description="name → its own overrides")


def distil(variants: dict[str, Config], prepared: Config, console: Console) -> dict[str, Path]:
    """``student_backbone.pt`` of each variant, on the images of ``prepared``."""
    assert prepared.data is not None
    labelled = LabelledData.read(prepared.data)
    same = {"data": prepared.data, "unlabeled": prepared.unlabeled, "dice_scenes": None}
    backbones = {}
    for name, config in variants.items():
        console.print(f"[bold]{name}[/]")
        own = config.model_copy(update=same | {"name": f"{prepared.name}-{name}"})
        backbones[name] = RunStages(own, console, labelled).distill()
    return backbones


def best_cosine(metrics: Path) -> float:
    """Of held-out images at P4, which every variant has, in the epoch that was kept."""
    best = max(read_metrics(metrics), key=lambda line: float(line["heldout_cosine"]))
    return float(best["heldout_cosine/p4"])


def table(record: StudyRecord, cosines: dict[str, float], ablation: Ablation) -> str:
    """Markdown: a row for each variant and number of labels."""
    first = next(iter(ablation.variants))
    lines = [
        "| variant | options | held-out cosine, P4 | labels | mAP50-95 | minus baseline | "
        f"minus {first} |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, own in ablation.variants.items():
        for one in (c for c in record.comparisons if (c.init, c.against) == (name, BASELINE)):
            words = [
                name,
                " ".join(f"`{option}`" for option in own),
                f"{cosines[name]:.3f}",
                str(one.num_labels),
                f"{one.map50_95:.3f}",
                one.difference.in_words(),
                "" if name == first else behind(record, first, name, one.num_labels).in_words(),
            ]
            lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines)


def behind(record: StudyRecord, first: str, variant: str, labels: int) -> Interval:
    """``variant − first``; the study compares the first init with the others."""
    (found,) = (
        c.difference
        for c in record.comparisons
        if (c.init, c.against, c.num_labels) == (first, variant, labels)
    )
    turned = {"estimate": -found.estimate, "low": -found.high, "high": -found.low}
    return found.model_copy(update=turned)


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The record, and its table."""
    console = Console(stderr=True)
    read = yaml.safe_load(options.ablation.read_text(encoding="utf-8"))
    ablation = Ablation.model_validate(read)
    shared = [*ablation.base, *options.overrides]
    variants = {
        name: load_config(options.config, [*shared, *own])
        for name, own in ablation.variants.items()
    }
    prepared = prepare(load_config(options.config, shared), console)
    backbones = distil(variants, prepared, console)
    inits = prepared.study.model_copy(update={"inits": backbones})
    study = run_study(prepared.model_copy(update={"study": inits}), console=console)
    folders = {name: path.parent / "distill" for name, path in backbones.items()}
    cosines = {name: best_cosine(folder / "metrics.jsonl") for name, folder in folders.items()}
    record = {
        "what": ablation.title,
        "command": f"python bench/ablation.py {options.config} {options.ablation} "
        + " ".join(one for one in options.overrides if not one.startswith("runs_dir=")),
        "variants": {
            name: {
                "options": own,
                "heldout_cosine_p4": cosines[name],
                "efficiency": json.loads((folders[name] / "efficiency.json").read_text("utf-8")),
            }
            for name, own in ablation.variants.items()
        },
        "base": ablation.base,
        "study": study.record.model_dump(mode="json"),
    }
    return record, table(study.record, cosines, ablation)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, write the record and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("ablation", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="folder for ablation_NAME.json")
    options = parser.parse_args(arguments)
    try:
        record, rows = measure(options)
    except (InputError, GateError, StoppedError) as error:
        raise SystemExit(f"error: {error}") from None
    if options.out:
        file = options.out / f"ablation_{options.ablation.stem}.json"
        write_text_atomically(file, json.dumps(record, indent=2) + "\n")
    print(rows)


if __name__ == "__main__":
    main()
