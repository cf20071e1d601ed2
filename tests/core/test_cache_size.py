"""The sizes and hours that ``bench/cache_size.py`` foretells."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest
from core.conftest import BENCH, MakeConfig, load_script

from edgekd.data.image_manifest import ImageEntry
from edgekd.distill.feature_cache import command
from edgekd.distill.feature_cache.description import CacheDescription, levels_at
from edgekd.distill.feature_cache.filling import View
from edgekd.distill.feature_cache.store import FeatureStore, record_key
from edgekd_bench.manifest import TeacherIdentity

SCRIPT = BENCH / "cache_size.py"


@pytest.fixture(scope="module")
def cache_size() -> ModuleType:
    return load_script("cache_size")


def test_a_plan_foretells_the_files(cache_size: ModuleType, make_config: MakeConfig) -> None:
    config = make_config("distill.cache.views=2", "distill.targets={kind: phi_s, components: 24}")
    filled = command.fill(config)
    plan = cache_size.CachePlan(
        channels={8: 32, 16: 48, 32: 64},
        components=24,
        numbers="int8",
        image_size=64,
        num_images=12,
        views=2,
    )
    assert plan.feature_bytes == filled.feature_bytes
    assert plan.record_bytes == filled.record_bytes
    held_out = 1  # is kept as one central view
    written = sum(data.stat().st_size for data in filled.folder.rglob("*.bin"))
    assert written == plan.record_bytes * (plan.num_records - held_out)


def test_hours_follow_from_rates(cache_size: ModuleType) -> None:
    plan = cache_size.CachePlan({16: 768}, 64, "int8", 640, 1_000_000, 8)
    rates = cache_size.Rates(teacher=300, student=900, devices=8)
    assert rates.filling_hours(plan) == pytest.approx(8e6 / 2400 / 3600)
    saved = rates.live_epoch_hours(plan) - rates.cached_epoch_hours(plan)
    assert plan.views * saved == pytest.approx(rates.filling_hours(plan)), "pays after V epochs"
    assert plan.feature_bytes == 102_400
    assert rates.read_bytes_per_second(plan.feature_bytes) == pytest.approx(7200 * 102_400)


def test_memory_of_a_process_is_what_the_lists_take(cache_size: ModuleType, tmp_path: Path) -> None:
    count, views = 4096, 2
    identity = TeacherIdentity(name="t", licence="x", sha256="0" * 64)
    description = CacheDescription(
        teacher=identity, blocks=(), precision="fp32", image_size=1, crop_scale=(0.4, 1.0),
        flip=True, seed=0, space="phi_s", components=1, numbers="int8", pixels=False,
        levels=levels_at({16: 1}, 1),
    )  # fmt: skip
    shards = tmp_path / "shards"
    shards.mkdir()
    tracemalloc.start()
    try:
        images = [
            ImageEntry(
                Path(f"/data/photographs/train/{number:012d}.jpg"),
                hashlib.sha256(bytes([number % 256, number // 256])).hexdigest(),
            )
            for number in range(count)
        ]
        listed = tracemalloc.get_traced_memory()[0]
        keys = [record_key(image.sha256, view) for image in images for view in range(views)]
        for start in range(0, len(keys), 256):
            records = [[key, 3_000_000_000 + start] for key in keys[start : start + 256]]
            (shards / f"000-{start:06d}.json").write_text(json.dumps({"records": records}))
            (shards / f"000-{start:06d}.bin").write_bytes(bytes(len(records)))
        before = tracemalloc.get_traced_memory()[0]
        store = FeatureStore(tmp_path, description)
        wanted = [View(index, view) for index in range(count) for view in range(views)]
        missing = {record_key(images[v.index].sha256, v.view): v for v in wanted}
        indexed = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(store) == len(missing) == len(keys)
    assert 0.7 < listed / count / cache_size.BYTES_PER_LISTED_IMAGE < 1.3
    assert 0.7 < indexed / len(keys) / cache_size.BYTES_PER_INDEXED_RECORD < 1.3


def test_the_command_prints_both_tables() -> None:
    sizes = ["--images", "1000", "--views", "8", "--components", "64", "0"]
    options = [*sizes, "--teacher-rate", "7", "--student-rate", "97"]
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=True
    )
    lines = finished.stdout.splitlines()
    assert [line.count("|") for line in lines] == [9] * 4 + [0] + [8] * 4
    assert lines[2].startswith("| 1,000 | 64 × int8 | 102 kB | 1.33 MB |")
    assert lines[3].startswith("| 1,000 | all × int8 | 1.23 MB |")
    assert "| 19 min |" in lines[7], "8,000 views at 7 a second"
    refused = subprocess.run([sys.executable, str(SCRIPT), "--levels", "16"], capture_output=True)
    assert refused.returncode == 2
