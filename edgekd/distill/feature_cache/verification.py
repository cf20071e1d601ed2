"""``edgekd cache --verify``: read every byte again and remove what is not as it was written."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from edgekd.distill.feature_cache.description import read_description


@dataclass(frozen=True)
class Damage:
    """One shard that was removed, and why."""

    shard: Path
    reason: str


@dataclass(frozen=True)
class Verification:
    """What was read and what was found."""

    folder: Path
    num_records: int
    num_shards: int
    gigabytes: float
    damaged: list[Damage]


def verify(folder: Path) -> Verification:
    """Check every record of a cache; a damaged shard is removed, to be filled again.

    Raises:
        InputError: no cache in the folder.
    """
    size = read_description(folder).record_bytes
    shards = folder / "shards"
    damaged: list[Damage] = []
    num_records = num_bytes = num_shards = 0
    for data in sorted(shards.glob("*.bin")):
        num_shards += 1
        num_bytes += data.stat().st_size
        reason = _fault_of(data, size)
        if reason is None:
            num_records += data.stat().st_size // size
            continue
        damaged.append(Damage(data, reason))
        data.with_suffix(".json").unlink(missing_ok=True)
        data.unlink()
    for listing in shards.glob("*.json"):
        if not listing.with_suffix(".bin").is_file():
            damaged.append(Damage(listing, "lists records that are not there"))
            listing.unlink()
    return Verification(folder, num_records, num_shards, num_bytes / 1e9, damaged)


def _fault_of(data: Path, record_bytes: int) -> str | None:
    """What is wrong with a shard; None: nothing."""
    listing = data.with_suffix(".json")
    if not listing.is_file():
        return "has no list of records: the filling was cut off here"
    try:
        records = json.loads(listing.read_text(encoding="utf-8"))["records"]
        expected = [(str(key), int(crc)) for key, crc in records]
    except (ValueError, KeyError, TypeError):
        return "its list of records cannot be read"
    if data.stat().st_size != len(expected) * record_bytes:
        return f"{data.stat().st_size} bytes instead of {len(expected) * record_bytes}"
    with data.open("rb") as stream:
        for row, (_, crc) in enumerate(expected):
            if zlib.crc32(stream.read(record_bytes)) != crc:
                return f"record {row} has other bytes than were written"
    return None
