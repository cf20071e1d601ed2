"""Records on disk: fixed-size, memory-mapped, written whole or not at all, checked on reading.

A shard is a ``.bin`` of equal records and a ``.json`` that lists their keys and CRC-32. The JSON is
written last, so a shard without one never happened: a kill costs at most the shard being filled.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from edgekd.distill.feature_cache.description import CacheDescription
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import write_text_atomically

Bytes = NDArray[np.uint8]
RECORDS_PER_SHARD = 256
_MAX_OPEN_SHARDS = 512
CENTRE = "centre"  # the view of held-out images: no crop, no flip


def record_key(sha256: str, view: int | str) -> str:
    """The name of one view of one image, by content."""
    return f"{sha256}/{view}"


@dataclass(frozen=True)
class _Place:
    shard: str
    row: int
    crc: int


class FeatureStore:
    """The records of one cache folder.

    Args:
        folder: holds ``cache.json`` and ``shards/``.
        description: of the records.
    """

    def __init__(self, folder: Path, description: CacheDescription) -> None:
        self.folder = folder
        self.description = description
        self._shards = folder / "shards"
        self._places: dict[str, _Place] = {}
        self._open: OrderedDict[str, Bytes] = OrderedDict()
        self._checked: set[str] = set()
        self._lock = Lock()
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def refresh(self) -> None:
        """Look at the folder again; other processes may have added shards."""
        known = {place.shard for place in self._places.values()}
        for listing in sorted(self._shards.glob("*.json")):
            if listing.stem not in known:
                self._add(listing)

    def _add(self, listing: Path) -> None:
        data = listing.with_suffix(".bin")
        try:
            content = json.loads(listing.read_text(encoding="utf-8"))
            records = [(str(key), int(crc)) for key, crc in content["records"]]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(f"{listing}: damaged ({error}); `edgekd cache --verify`") from error
        expected = len(records) * self.description.record_bytes
        if not data.is_file() or data.stat().st_size != expected:
            raise InputError(
                f"{data}: should hold {expected} bytes; run `edgekd cache --verify` on it"
            )
        for row, (key, crc) in enumerate(records):
            self._places[key] = _Place(listing.stem, row, crc)

    def append(self, shard: str, keys: Sequence[str], records: Bytes) -> None:
        """Write one shard.

        Args:
            shard: its name, new in this folder.
            keys: of the records.
            records: ``(len(keys), record_bytes)``.

        Raises:
            InputError: the disk is full or cannot be written; earlier shards are untouched.
        """
        target = self._shards / f"{shard}.bin"
        partial = target.with_name(f".{shard}.{os.getpid()}.partial")
        try:
            self._shards.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                stream.write(records.tobytes())
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(target)
            crcs = [zlib.crc32(record.tobytes()) for record in records]
            listing = {"records": list(zip(keys, crcs, strict=True))}
            write_text_atomically(target.with_suffix(".json"), json.dumps(listing))
        except OSError as error:
            raise InputError(
                f"{target}: cannot be written ({error.strerror or error}); what was filled so far "
                "is kept: free some space, or set distill.cache.folder, and run it again"
            ) from error
        finally:
            partial.unlink(missing_ok=True)
        self._add(target.with_suffix(".json"))

    def free_shard_name(self, rank: int) -> str:
        """A name that no shard in the folder has."""
        number = 0
        taken = {path.stem for path in self._shards.glob("*.*")}
        while (name := f"{rank:03d}-{number:06d}") in taken:
            number += 1
        return name

    def read(self, key: str) -> Bytes:
        """The bytes of a record, checked the first time they are read: ``(record_bytes,)``.

        Raises:
            InputError: the record is damaged.
        """
        place = self._places[key]
        record: Bytes = self._mapped(place.shard)[place.row]
        if key not in self._checked:
            if zlib.crc32(record.tobytes()) != place.crc:
                raise InputError(
                    f"{self._shards / place.shard}.bin: record {place.row} is damaged; "
                    "run `edgekd cache --verify`, which removes it, and fill again"
                )
            self._checked.add(key)
        return record

    def _mapped(self, shard: str) -> Bytes:
        with self._lock:
            if shard not in self._open:
                path = self._shards / f"{shard}.bin"
                flat: Bytes = np.memmap(path, np.uint8, "r")
                self._open[shard] = flat.reshape(-1, self.description.record_bytes)
                if len(self._open) > _MAX_OPEN_SHARDS:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            return self._open[shard]
