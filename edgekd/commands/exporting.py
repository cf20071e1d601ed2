"""``export``: from a detector to the file that a device runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgekd.commands.console import (
    Json,
    console_for,
    finish,
    settings_from,
)


def export(
    weights: Annotated[Path, typer.Argument(help="trained detector, .pt")],
    onnx: Annotated[bool, typer.Option("--onnx", help="write ONNX (the default)")] = True,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="data.yaml, coco.yaml or a folder of images for the parity gate"),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="file or folder")] = None,  # noqa: UP045
    image_size: Annotated[Optional[int], typer.Option(help="default: the weights' own")] = None,  # noqa: UP045
    opset: Annotated[int, typer.Option(help="ONNX opset, at most 18")] = 17,
    as_json: Json = False,
) -> None:
    """Export a detector to ONNX and hold it against PyTorch on real images."""
    from edgekd_export import ExportSettings, run

    del onnx  # the one format so far, and the one every later format starts from
    settings = settings_from(ExportSettings, image_size=image_size, opset=opset)
    result = run(weights, out=out or weights.parent, data=data, settings=settings)
    console_for(as_json).print(result.parity.summary())
    finish(result, as_json, f"[bold]{result.onnx}[/]  next: edgekd bench {result.onnx} --data …")
