"""Look into a ``.pt`` without running code from it: our own formats, and Ultralytics' detectors.

What edgekd writes itself is tensors and JSON and loads with ``weights_only=True``; a checkpoint of
Ultralytics is a pickle of objects and goes through its restricted loader. Torch is imported inside,
and where it is missing the reader is told so: only files with a manifest can be shown without.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekd_bench.errors import InputError
from edgekd_bench.inspection.findings import DistillationFacts
from edgekd_bench.manifest import Manifest
from edgekd_bench.ultralytics_checkpoint import load_detector, one_line, trained_image_size

BACKBONE_FORMAT = "edgekd.backbone."
DISTILLATION_FORMAT = "edgekd.distill."


def read_torch_file(path: Path) -> DistillationFacts | Manifest:
    """What a ``.pt`` without a manifest is: one of edgekd's files, or a detector's own account.

    Raises:
        InputError: torch is missing, the file is damaged, or it is neither.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: no manifest lies beside it, and looking inside a .pt needs PyTorch; "
            "pip install 'edgekd[train]'"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # objects: nothing edgekd writes
        return _read_detector(path)
    except Exception as error:
        raise InputError(f"{path}: truncated, or not a torch file ({one_line(error)})") from error
    form = content.get("format") if isinstance(content, dict) else None
    if not isinstance(form, str) or not form.startswith((BACKBONE_FORMAT, DISTILLATION_FORMAT)):
        raise InputError(
            f"{path}: holds tensors but is no file of edgekd (format {form!r}); give a backbone, "
            "a distillation checkpoint or a detector"
        )
    return _facts(path, form, content)


def _facts(path: Path, form: str, content: dict[str, Any]) -> DistillationFacts:
    tensors = content.get("tensors" if form.startswith(BACKBONE_FORMAT) else "backbone")
    if not isinstance(tensors, dict):
        raise InputError(f"{path}: says '{form}' but holds no backbone; distil again")
    try:
        return DistillationFacts.model_validate(
            {
                **json.loads(content["metadata"]),
                "format": form,
                "position": content.get("position"),
                "num_tensors": len(tensors),
                "num_values": sum(tensor.numel() for tensor in tensors.values()),
            }
        )
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: its metadata cannot be read ({one_line(error)})") from error


def _read_detector(path: Path) -> Manifest:
    """What an Ultralytics checkpoint tells about itself."""
    try:
        model = load_detector(path)
    except ImportError as error:
        raise InputError(
            f"{path}: holds objects, not tensors; looking at them needs Ultralytics, "
            "pip install 'edgekd[train]'"
        ) from error
    return Manifest(
        kind="detector",
        names={int(index): str(name) for index, name in model.names.items()},
        image_size=trained_image_size(path, model),
        stride=int(max(model.stride)),
        end_to_end=bool(getattr(model.model[-1], "end2end", False)),
        num_params=sum(parameter.numel() for parameter in model.parameters()),
    )
