"""``edgekd cache``: the feature cache as a stage of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgekd.config import Config
from edgekd.distill.devices import world_of_environment
from edgekd.distill.feature_cache.cached_targets import CachedTargets, cache_root
from edgekd.distill.feature_cache.description import DESCRIPTION_FILE, Fidelity
from edgekd.distill.feature_cache.verification import Verification, verify
from edgekd.distill.setup import prepare_data
from edgekd.distill.trainer import DistillLoop
from edgekd.files import require_writable
from edgekd.memory import keep_freed_memory
from edgekd_bench.errors import InputError
from edgekd_bench.ultralytics_setup import prepare_ultralytics


@dataclass(frozen=True)
class FilledCache:
    """What a filling leaves behind."""

    folder: Path
    num_views: int
    record_bytes: int
    feature_bytes: int
    fidelity: Fidelity | None


def fill(config: Config, *, console: Console | None = None) -> FilledCache:
    """Fill the cache a distillation with ``config`` would use.

    Started as several processes, each computes its share of the views.

    Raises:
        InputError: bad input, or not enough room on the disk.
        StoppedError: Ctrl-C or SIGTERM; what was computed is kept.
    """
    cache = config.distill.cache.model_copy(update={"enabled": True})
    distill = config.distill.model_copy(update={"cache": cache})
    config = config.model_copy(update={"distill": distill})
    require_writable(config.run_dir / "distill")
    prepare_ultralytics((config.run_dir / "ultralytics").resolve())
    keep_freed_memory()
    world = world_of_environment()
    if console is None or not world.leads:
        console = Console(quiet=True)
    loop = DistillLoop(config, prepare_data(config, world), console)
    source = loop.source
    assert isinstance(source, CachedTargets), "the cache was switched on above"
    with loop.fabric.autocast():
        source.prepare(resumed=False)
    description = source.description
    return FilledCache(
        source.folder,
        len(source.store),
        description.record_bytes,
        description.feature_bytes,
        description.fidelity,
    )


def verify_all(config: Config) -> list[Verification]:
    """Check every cache below the folder that ``config`` names.

    Raises:
        InputError: there is none.
    """
    root = cache_root(config)
    folders = sorted(file.parent for file in root.glob(f"*/{DESCRIPTION_FILE}"))
    if not folders:
        raise InputError(f"{root}: no feature cache there; fill one with `edgekd cache CONFIG`")
    return [verify(folder) for folder in folders]


def in_words(result: Verification) -> str:
    """One line for people, and one for each damaged shard."""
    lines = [
        f"{result.folder}: {result.num_records} records in {result.num_shards} shards, "
        f"{result.gigabytes:.2f} GB, {len(result.damaged)} damaged"
    ]
    lines += [f"  {damage.shard.name}: {damage.reason}" for damage in result.damaged]
    return "\n".join(lines)
