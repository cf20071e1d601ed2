"""What an ONNX detector says about itself: edgekd's manifest, or Ultralytics' own metadata.

The manifest inside the file says what the network is; the sidecar ``x.onnx.json`` is written after
the parity check and so knows its outcome, and wins where both exist.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import (
    MANIFEST_KEY,
    Manifest,
    parse_manifest,
    read_manifest,
)
from edgekd_bench.protobuf_fields import fields

_METADATA = 14  # ModelProto.metadata_props
_KEY, _VALUE = 1, 2  # of a StringStringEntryProto


def read_onnx_metadata(path: Path) -> dict[str, str]:
    """The ``metadata_props`` of an ONNX file, whatever runs it later.

    Raises:
        InputError: not an ONNX file.
    """
    found: dict[str, str] = {}
    try:
        for number, value in fields(memoryview(path.read_bytes())):
            if number == _METADATA and isinstance(value, memoryview):
                pair = dict(fields(value))
                found[_text(pair.get(_KEY))] = _text(pair.get(_VALUE))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not an ONNX file ({error}); export again") from error
    return found


def _text(value: int | memoryview | None) -> str:
    return bytes(value).decode() if isinstance(value, memoryview) else ""


def read_onnx_manifest(path: Path, metadata: Mapping[str, str]) -> Manifest:
    """The manifest of an ONNX file, made up from Ultralytics' metadata where it has none.

    Args:
        path: the ``.onnx``.
        metadata: its ``metadata_props``.

    Raises:
        InputError: a manifest that does not fit, or no metadata to go by.
    """
    sidecar = read_manifest(path)
    if sidecar is not None:
        return sidecar
    if MANIFEST_KEY in metadata:
        return parse_manifest(metadata[MANIFEST_KEY], f"{path} (metadata)")
    return manifest_from_ultralytics(path, metadata, "onnx")


def manifest_from_ultralytics(
    path: Path, metadata: Mapping[str, str], kind: Literal["onnx", "engine"]
) -> Manifest:
    """The manifest of a file that Ultralytics exported.

    Args:
        path: the file, for the errors.
        metadata: what it says about itself, values as Python literals.
        kind: of the file.

    Raises:
        InputError: something is missing or senseless, or it is no detector.
    """
    missing = [key for key in ("names", "stride", "imgsz") if key not in metadata]
    if missing:
        raise InputError(
            f"{path}: says nothing about its {', '.join(missing)}; export it with `edgekd export` "
            "or Ultralytics"
        )
    task = metadata.get("task", "detect")
    if task != "detect":
        raise InputError(f"{path}: a model for '{task}'; only detectors can be measured")
    names, sides = _literal(path, metadata, "names"), _literal(path, metadata, "imgsz")
    stride = _literal(path, metadata, "stride")
    square = isinstance(sides, list | tuple) and len(set(sides)) == 1
    if not square or not isinstance(stride, int):
        raise InputError(f"{path}: imgsz {metadata['imgsz']} is not square; export a square model")
    if not isinstance(names, dict) or sorted(names) != list(range(len(names))):
        raise InputError(f"{path}: names {metadata['names']} are not numbered from 0")
    return Manifest(
        kind=kind,
        names={index: str(name) for index, name in names.items()},
        image_size=int(sides[0]),
        stride=stride,
        end_to_end=metadata.get("end2end", "False") == "True",
        precision=_precision(metadata),
    )


def _literal(path: Path, metadata: Mapping[str, str], key: str) -> Any:
    """Ultralytics writes Python literals; anything else in them is not evaluated."""
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError) as error:
        raise InputError(f"{path}: metadata '{key}' cannot be read: {metadata[key]}") from error


def _precision(metadata: Mapping[str, str]) -> Any:
    arguments = metadata.get("args", "")
    if "'int8': True" in arguments:
        return "int8"
    return "fp16" if "'half': True" in arguments else "fp32"
