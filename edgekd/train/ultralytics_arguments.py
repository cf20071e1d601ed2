"""Build the argument list of an Ultralytics training, and check what the user passes through."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from edgekd.config import Config
from edgekd.precision import resolve_device, resolve_precision
from edgekd_bench.errors import InputError

_OWNED = {
    "model": "student.model",
    "data": "data",
    "epochs": "train.epochs",
    "batch": "train.batch_size",
    "imgsz": "image_size",
    "device": "device",
    "seed": "train.seeds",
    "amp": "train.precision",
    "channels_last": "train.channels_last",
    "fraction": "train.num_labeled",
    "pretrained": "--backbone-weights",
    "resume": "edgekd run",
    "project": "runs_dir",
    "name": "name",
    "exist_ok": "name",
    "save": "train.checkpoint",
    "task": "edgekd",
    "mode": "edgekd",
    "val": "train.val_every",
}


def train_arguments(config: Config, data_yaml: Path, seed: int, folder: Path) -> dict[str, Any]:
    """Arguments for one training in ``folder``; edgekd's own are not overridable.

    Raises:
        InputError: an unknown key in ``train.ultralytics`` (with the nearest valid one), or one
            that edgekd sets itself.
    """
    options = config.train
    check_passthrough(options.ultralytics)
    device = resolve_device(config.device)
    precision = resolve_precision(options.precision, device)
    quiet = {"plots": False, "verbose": False, "deterministic": True, "cache": "ram"}
    own = {
        "task": "detect",
        "mode": "train",
        "model": config.student.model,
        "data": str(data_yaml),
        "epochs": options.epochs,
        "patience": options.epochs,
        "batch": options.batch_size,
        "imgsz": config.image_size,
        "device": "cpu" if device.type == "cpu" else str(device.index or 0),
        "seed": seed,
        "amp": "bf16" if precision == "bf16" and device.type != "cpu" else False,
        "project": str(folder.parent.resolve()),
        "name": folder.name,
        "exist_ok": True,
        "val": True,
        "save": True,
    }
    return {**quiet, **options.ultralytics, **own}


def check_passthrough(arguments: dict[str, Any]) -> None:
    """Refuse unknown Ultralytics arguments and those edgekd owns.

    Raises:
        InputError: names the key and what to use instead.
    """
    from ultralytics.cfg import check_cfg
    from ultralytics.utils import DEFAULT_CFG_DICT

    for key in arguments:
        if key in _OWNED:
            raise InputError(f"train.ultralytics.{key}: set by edgekd; use {_OWNED[key]}")
        if key not in DEFAULT_CFG_DICT:
            near = difflib.get_close_matches(key, list(DEFAULT_CFG_DICT), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise InputError(f"train.ultralytics.{key}: Ultralytics has no such argument{hint}")
    try:
        check_cfg(dict(arguments))
    except (TypeError, ValueError) as error:
        raise InputError(f"train.ultralytics: {str(error).splitlines()[0]}") from error
