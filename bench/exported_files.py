"""The files that `export_speed.py` compares: one checkpoint, exported in every way there is.

Ultralytics and NNCF are driven as black boxes, each in a process of its own, with what their own
documentation shows. edgekd's files go through its parity gate; one that fails is measured all the
same, and the record says so: a layout that is fast and wrong belongs into the table too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import Parity
from edgekd_bench.runner import Precision
from edgekd_export import ExportSettings, run
from edgekd_export.exporter import artefact_name
from edgekd_export.settings import Int8Backend

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class ExportedFile:
    """One way of exporting the checkpoint."""

    name: str
    path: Path
    made_by: str
    precision: Precision
    parity: Parity  # "n/a": made by somebody else, or not judged


def export_all(
    weights: Path, data: Path, folder: Path, *, image_size: int, settings: ExportSettings
) -> list[ExportedFile]:
    """Export a checkpoint; Ultralytics' own fp32 file comes first.

    Args:
        weights: an Ultralytics checkpoint.
        data: what to calibrate on and to judge by.
        folder: where to write.
        image_size: side of the input.
        settings: opset and calibration of edgekd's files.
    """
    fp32 = _by_edgekd("edgekd fp32", weights, data, folder, settings)
    files = [_by_ultralytics(weights, folder, image_size, settings.opset), fp32]
    for int8_for in get_args(Int8Backend):
        how = settings.model_copy(update={"precision": "int8", "int8_for": int8_for})
        files.append(_by_edgekd(f"edgekd int8 for {int8_for}", weights, data, folder, how))
    if find_spec("nncf") is not None:
        files.append(_by_nncf(fp32, data, folder, settings.calibration_images))
    return files


def run_peer(script: str, *arguments: str | Path) -> str:
    """Run one of the scripts in ``peers/`` to its end; what it printed.

    Raises:
        InputError: it failed; its last words are in the message.
    """
    command = [sys.executable, str(PEERS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["without a word"]
        raise InputError(f"{script} failed: {words[-1][:300]}")
    return done.stdout


def _by_edgekd(
    name: str, weights: Path, data: Path, folder: Path, settings: ExportSettings
) -> ExportedFile:
    path = folder / "edgekd" / artefact_name(weights, settings.precision, settings.int8_for)
    try:
        run(weights, out=path, data=data, settings=settings)
    except GateError as error:
        print(error, file=sys.stderr)
        failed = path.with_name(f"{path.stem}.parity-failed.onnx")
        return ExportedFile(name, failed, "edgekd", settings.precision, "fail")
    return ExportedFile(name, path, "edgekd", settings.precision, "pass")


def _by_ultralytics(weights: Path, folder: Path, image_size: int, opset: int) -> ExportedFile:
    copy = folder / "ultralytics" / weights.name  # it writes beside the weights
    copy.parent.mkdir()
    shutil.copy(weights, copy)
    run_peer("ultralytics_export.py", copy, str(image_size), str(opset))
    return ExportedFile("Ultralytics fp32", copy.with_suffix(".onnx"), "Ultralytics", "fp32", "n/a")


def _by_nncf(fp32: ExportedFile, data: Path, folder: Path, num_images: int) -> ExportedFile:
    path = folder / "nncf.onnx"
    run_peer("nncf_quantize.py", fp32.path, data, path, str(num_images))
    return ExportedFile("NNCF int8", path, "NNCF", "int8", "n/a")
