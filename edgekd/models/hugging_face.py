"""Read a Hugging Face model folder: weights in one or several files, and the JSON beside them.

The JSON knows what tensors cannot say, the number of attention heads and the pixel statistics, so
it is read for a single weights file too where it lies beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd_bench.errors import InputError

_SINGLE = ("model.safetensors", "pytorch_model.bin")
_SHARDED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class FolderFacts:
    """What ``config.json`` and ``preprocessor_config.json`` say; None where they say nothing."""

    num_heads: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def weight_files(path: Path) -> list[Path]:
    """The files that hold the tensors: ``path`` itself, or those of the folder it names.

    Raises:
        InputError: no weights in the folder, an unreadable index, or a shard that is missing.
    """
    if not path.is_dir():
        return [path]
    for name in _SINGLE:
        if (path / name).is_file():
            return [path / name]
    for name in _SHARDED:
        if (path / name).is_file():
            return _shards(path / name)
    raise InputError(
        f"{path}: no weights in this folder; it needs {', '.join(_SINGLE)} or an index of shards"
    )


def _shards(index: Path) -> list[Path]:
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{index}: holds no weight_map; download the folder again")
    files = [index.parent / str(name) for name in sorted(set(names.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{index.parent}: shards are missing ({', '.join(missing[:3])})")
    return files


def folder_facts(path: Path) -> FolderFacts:
    """What the JSON files beside the weights say.

    Raises:
        InputError: a JSON file that cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    config = _read_json(folder / "config.json")
    if "dino" not in str(config.get("model_type")):
        return FolderFacts()  # a stranger's file that happens to lie there
    heads = config.get("num_attention_heads")
    pixels = _read_json(folder / "preprocessor_config.json")
    return FolderFacts(
        num_heads=int(heads) if isinstance(heads, int) else None,
        mean=_three(pixels.get("image_mean")),
        std=_three(pixels.get("image_std")),
    )


def _three(values: Any) -> tuple[float, ...] | None:
    if isinstance(values, list) and len(values) == 3:
        return tuple(float(value) for value in values)
    return None


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not JSON that can be read ({error})") from error
    return content if isinstance(content, dict) else {}
