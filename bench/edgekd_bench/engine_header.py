"""Split a TensorRT engine file into what it says about itself and the engine proper.

Ultralytics writes its metadata ahead of the engine: four bytes with the length of a JSON document,
little-endian, then the document (``ultralytics/utils/export/engine.py``). TensorRT must not see
those bytes, and without edgekd's manifest they are all that tells classes and stride.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd_bench.engine_fit import read_engine_manifest
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, manifest_path
from edgekd_bench.onnx_metadata import manifest_from_ultralytics

_LENGTH_BYTES = 4


def split_engine(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Metadata (empty where there is none) and the bytes that TensorRT deserialises."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    if 0 < length <= len(content) - _LENGTH_BYTES:
        try:
            metadata = json.loads(content[_LENGTH_BYTES:end])
        except ValueError:  # an engine's own first bytes may look like a length
            metadata = None
        if isinstance(metadata, dict):
            return metadata, memoryview(content)[end:]
    return {}, memoryview(content)


def read_engine(path: Path) -> tuple[Manifest, memoryview]:
    """What an engine file is, and the engine itself.

    Raises:
        InputError: neither a manifest beside it nor Ultralytics' metadata in it.
    """
    metadata, engine = split_engine(path.read_bytes())
    if metadata and not manifest_path(path).exists():
        return manifest_from_ultralytics(path, _as_literals(metadata), "engine"), engine
    return read_engine_manifest(path), engine


def _as_literals(metadata: Mapping[str, Any]) -> dict[str, str]:
    """JSON values as the Python literals that Ultralytics' other exports hold.

    Raises:
        InputError: classes that are not numbered.
    """
    names = metadata.get("names")
    if isinstance(names, dict):
        try:
            metadata = {**metadata, "names": {int(key): name for key, name in names.items()}}
        except ValueError as error:
            raise InputError(f"engine metadata: names are not numbered ({error})") from error
    return {key: str(value) for key, value in metadata.items()}
