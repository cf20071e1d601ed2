"""The YAML file that describes a detection set: which folders, which split, which names.

It only finds out what the file says; reading labels is left to the two formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgekd_bench.errors import InputError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DatasetDescription:
    """A described split, its paths made absolute but not yet looked at."""

    yaml_path: Path
    split: str
    root: Path
    entry: str | list[str] | dict[str, str]  # dict: COCO form
    names: dict[int, str] | None  # None: COCO form, names come from the JSON

    def resolve(self, name: str) -> Path:
        """A path of the description, relative ones against the set's root."""
        path = Path(name).expanduser()
        return path if path.is_absolute() else self.root / path


def read_dataset_yaml(yaml_path: Path, split: str) -> DatasetDescription:
    """Read a ``data.yaml`` or ``coco.yaml``.

    Raises:
        InputError: no such file, no YAML, no such split, no usable names.
    """
    if split not in SPLITS:
        raise InputError(f"split '{split}' is none of {', '.join(SPLITS)}")
    raw = _parse(yaml_path)
    root = Path(str(raw.get("path") or ".")).expanduser()
    if not root.is_absolute():
        root = yaml_path.resolve().parent / root
    if not root.is_dir():
        raise InputError(
            f"{yaml_path}: path '{raw.get('path')}' → {root} is not a folder; "
            "it is relative to the YAML file's folder"
        )
    entry = raw.get(split)
    if not entry:
        there = [name for name in SPLITS if raw.get(name)]
        raise InputError(f"{yaml_path}: no split '{split}' (it has: {', '.join(there) or 'none'})")
    checked = _check_entry(entry, f"{yaml_path}: {split}")
    names = None if isinstance(checked, dict) else _read_names(raw, yaml_path)
    return DatasetDescription(yaml_path, split, root, checked, names)


def _parse(yaml_path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(yaml_path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{yaml_path}: no such file; give the set's data.yaml") from error
    except OSError as error:
        raise InputError(f"{yaml_path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "not text"
        raise InputError(f"{yaml_path}{line}: not YAML ({reason})") from error
    if not isinstance(raw, dict):
        raise InputError(f"{yaml_path}: not a dataset description; it needs train, val and names")
    return raw


def _check_entry(entry: Any, where: str) -> str | list[str] | dict[str, str]:
    if isinstance(entry, dict):
        if set(entry) != {"images", "annotations"}:
            raise InputError(f"{where}: the COCO form has exactly the keys images and annotations")
        return {key: str(value) for key, value in entry.items()}
    if isinstance(entry, list) and all(isinstance(item, str) for item in entry):
        return list(entry)
    if isinstance(entry, str):
        return entry
    raise InputError(f"{where}: must be a folder, a list of folders, a .txt list or a COCO pair")


def _read_names(raw: dict[str, Any], yaml_path: Path) -> dict[int, str]:
    names = raw.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise InputError(f"{yaml_path}: no class names; add `names:` as a list or `0: name` pairs")
    if sorted(names, key=str) != sorted(range(len(names)), key=str):
        raise InputError(
            f"{yaml_path}: names must be numbered 0 to {len(names) - 1} without a gap, "
            f"but are {list(names)}"
        )
    count = raw.get("nc")
    if count is not None and count != len(names):
        raise InputError(f"{yaml_path}: nc is {count} but there are {len(names)} names")
    return {index: str(names[index]) for index in range(len(names))}
