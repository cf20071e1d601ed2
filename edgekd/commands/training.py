"""``distill`` and ``train``: from unlabelled images and labels to a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgekd.commands.console import (
    ConfigArgument,
    Json,
    Overrides,
    console_for,
    finish,
    load,
)


def distill(
    config: ConfigArgument,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option(help="continue from distill/last.pt")] = False,
    overwrite: Annotated[bool, typer.Option(help="replace an earlier distillation")] = False,
    as_json: Json = False,
) -> None:
    """Distil a frozen teacher into the student's backbone on unlabelled images."""
    wanted = load(config, overrides)  # before the heavy imports: a typing error shows at once
    from edgekd import pipeline
    from edgekd.distill import run

    console = console_for(as_json)
    options = pipeline.with_built_in_data(wanted, console)
    result = run(options, resume=resume, overwrite=overwrite, console=console)
    finish(result, as_json, f"next: edgekd train {config} --backbone-weights {result.backbone}")


def train(
    config: ConfigArgument,
    overrides: Overrides = None,
    backbone_weights: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="student_backbone.pt, an Ultralytics .pt or a LightlyTrain export; "
            "without it: the baseline"
        ),
    ] = None,
    seed: Annotated[Optional[int], typer.Option(help="instead of train.seeds[0]")] = None,  # noqa: UP045
    resume: Annotated[bool, typer.Option(help="continue a stopped training")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune the detector, from distilled backbone weights or as the baseline."""
    wanted = load(config, overrides)
    from edgekd import pipeline
    from edgekd.train import run

    console = console_for(as_json)
    options = pipeline.with_built_in_data(wanted, console)
    result = run(
        options, backbone_weights=backbone_weights, seed=seed, resume=resume, console=console
    )
    finish(result, as_json, f"next: edgekd export {result.detector} --onnx")
