"""Tell edgekd's JSON files apart by what is in them, because names change on the way.

The calibration cache and the feature cache belong to wings that are not on a device; only what is
shown of them is read here, and their other fields are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekd_bench.errors import InputError
from edgekd_bench.inspection.findings import CalibrationFacts, FeatureCacheFacts, Kind

_MARKS: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("benchmark", frozenset({"rows", "verdict"})),
    ("bundle", frozenset({"models", "files", "evaluation"})),
    ("calibration cache", frozenset({"graph_sha256", "tensors"})),
    ("feature cache", frozenset({"teacher", "levels"})),
    ("manifest", frozenset({"kind", "names", "image_size"})),
)
CACHE_NAME = "cache.json"


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        InputError: broken, or something else than an object.
    """
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: truncated, or not JSON ({error}); copy it again") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: JSON, but not a file of edgekd (no object)")
    return raw


def kind_of_json(path: Path, raw: Mapping[str, Any]) -> Kind:
    """Which of edgekd's files a JSON object is.

    Raises:
        InputError: none.
    """
    for kind, keys in _MARKS:
        if keys <= raw.keys():
            return kind
    found = ", ".join(sorted(raw)[:4]) or "nothing"
    raise InputError(
        f"{path}: JSON, but no file edgekd knows (it holds {found}); give a manifest, "
        "results.json, a calibration cache or a cache.json"
    )


def calibration_facts(path: Path, raw: Mapping[str, Any]) -> CalibrationFacts:
    """A ``.calibration.json``.

    Raises:
        InputError: wrong fields.
    """
    tensors = raw["tensors"]
    if not isinstance(tensors, dict) or not tensors:
        raise InputError(f"{path}: a calibration cache without ranges; calibrate again")
    try:
        return CalibrationFacts.model_validate({**raw, "num_tensors": len(tensors)})
    except ValidationError as error:
        raise InputError(
            f"{path}: not a calibration cache ({first_fault(error)}); leave it out of the next "
            "export to measure again"
        ) from error


def feature_cache_facts(path: Path, raw: Mapping[str, Any]) -> FeatureCacheFacts:
    """A ``cache.json`` with its shards; a shard without its listing never happened.

    Raises:
        InputError: wrong fields, or a listing that cannot be read.
    """
    listings = sorted((path.parent / "shards").glob("*.json"))
    data = [listing.with_suffix(".bin") for listing in listings]
    try:
        return FeatureCacheFacts.model_validate(
            {
                **raw,
                "num_shards": len(listings),
                "num_records": sum(len(read_json(one).get("records", ())) for one in listings),
                "shard_bytes": sum(one.stat().st_size for one in data if one.is_file()),
            }
        )
    except ValidationError as error:
        raise InputError(
            f"{path}: not a feature cache edgekd can read ({first_fault(error)})"
        ) from error


def first_fault(error: ValidationError) -> str:
    """Where and what is wrong first, for the inside of a one-line error."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}"
