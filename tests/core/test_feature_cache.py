"""The teacher sees a view once; what is read back is what it saw, or nothing at all."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from core.conftest import MakeConfig

import edgekd
from edgekd.config import Config
from edgekd.distill.checkpoint import BACKBONE_FORMAT
from edgekd.distill.feature_cache import cached_targets, command
from edgekd.distill.feature_cache.codec import pack_halves, unpack_halves
from edgekd.distill.feature_cache.description import CachedLevel, level_bytes, read_description
from edgekd.distill.feature_cache.store import FeatureStore
from edgekd.distill.feature_cache.verification import verify
from edgekd.distill.setup import prepare_data
from edgekd.distill.trainer import DistillLoop
from edgekd.models.teacher import Teacher
from edgekd_bench.errors import InputError

CACHE = ("distill.cache.enabled=true", "distill.cache.views=2")


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path, weights_only=True)
    assert content["format"] == BACKBONE_FORMAT
    return dict(content["tensors"])


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def cache_of(config: Config) -> Path:
    (folder,) = (config.runs_dir / "feature_cache").iterdir()
    return folder


def loop_of(config: Config) -> DistillLoop:
    from rich.console import Console

    return DistillLoop(config, prepare_data(config), Console(quiet=True))


@pytest.fixture
def teacher_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images per forward pass of any teacher."""
    calls: list[int] = []
    original = Teacher.forward

    def counted(self: Teacher, images: torch.Tensor) -> dict[int, torch.Tensor]:
        calls.append(len(images))
        return original(self, images)

    monkeypatch.setattr(Teacher, "forward", counted)
    return calls


@pytest.mark.parametrize("pixels", ["true", "false"])
@pytest.mark.parametrize("targets", ["{kind: standardize}", "{kind: phi_s, components: 24}"])
def test_what_is_read_is_what_the_live_teacher_says(
    make_config: MakeConfig, pixels: str, targets: str
) -> None:
    config = make_config(*CACHE, f"distill.cache.pixels={pixels}", f"distill.targets={targets}")
    loop = loop_of(config)
    loop.source.prepare(resumed=False)
    batches = list(loop.source.loader.epoch(0)) + list(loop.source.loader.epoch(1))
    live_loader = loop.data.loader
    for batch in batches:
        images = batch.pixels.float().div(255)
        cached = loop.source.targets(batch, images)
        live = loop.models.space(loop.models.teacher(images))
        for stride, expected in live.items():
            assert cached[stride].shape == expected.shape
            error = (cached[stride] - expected).abs()
            # Unit variance in 8 bits; twelve images leave some channels with too small a range.
            assert 0 < error.median() < 0.02 and error.mean() < 0.05
    views = {hash(view.numpy().tobytes()) for b in batches for view in b.pixels}
    assert len(views) == sum(len(b) for b in batches), "two epochs of two views repeat nothing"
    assert live_loader.batches_per_epoch == loop.source.loader.batches_per_epoch


def test_the_teacher_runs_once_a_view_ever(
    make_config: MakeConfig, teacher_calls: list[int]
) -> None:
    config = make_config("name=first", *CACHE, "distill.epochs=4")
    first = edgekd.distill.run(config)
    num_images, heldout = 12, 1
    train = num_images - heldout
    fit = 2 * train + heldout  # statistics, int8 steps, fidelity
    assert sum(teacher_calls) == fit + train * 2 + heldout
    teacher_calls.clear()
    again = edgekd.distill.run(make_config("name=second", *CACHE, "distill.epochs=4"))
    other = edgekd.distill.run(
        make_config("name=third", *CACHE, "distill.epochs=1", "student.model=yolov8n.yaml")
    )
    assert teacher_calls == []
    assert same(tensors_of(first.backbone), tensors_of(again.backbone))
    assert other.backbone.is_file()


def test_new_images_are_added_and_nothing_is_done_twice(
    make_config: MakeConfig, image_folder: Path, teacher_calls: list[int]
) -> None:
    from core.conftest import draw_image

    edgekd.distill.run(make_config("name=a", *CACHE, "distill.epochs=1"))
    teacher_calls.clear()
    draw_image(77).save(image_folder / "new.jpg", quality=95)
    edgekd.distill.run(make_config("name=b", *CACHE, "distill.epochs=1"))
    assert sum(teacher_calls) in (2, 3)  # its two views; or its centre and another's two views


def test_size_and_fidelity_are_said_before_and_kept(make_config: MakeConfig) -> None:
    import io

    from rich.console import Console

    config = make_config(*CACHE, "distill.epochs=1")
    text = io.StringIO()
    edgekd.distill.run(config, console=Console(file=text, width=300))
    folder = cache_of(config)
    description = read_description(folder)
    size = sum(p.stat().st_size for p in (folder / "shards").glob("*.bin"))
    assert size == 23 * description.record_bytes
    assert f"{size / 1e9:.2f} GB to write" in text.getvalue()
    assert description.fidelity is not None
    assert set(description.fidelity.centred) == {8, 16, 32}
    assert all(0.99 < value <= 1 for value in description.fidelity.centred.values())
    assert description.teacher.name.startswith("test_efficientnet")


def test_fewer_components_cost_fidelity_and_save_space(make_config: MakeConfig) -> None:
    found = {}
    for count in (4, 32):
        config = make_config(
            f"runs_dir={make_config().runs_dir / str(count)}",
            *CACHE,
            "distill.epochs=1",
            f"distill.targets={{kind: phi_s, components: {count}}}",
        )
        edgekd.distill.run(config)
        description = read_description(cache_of(config))
        assert description.fidelity is not None
        found[count] = (description.feature_bytes, description.fidelity.centred[16])
    assert found[4][0] < found[32][0] / 4
    assert found[4][1] < found[32][1] - 0.01


def test_half_a_byte_a_number_is_half_the_size_and_still_the_teacher(
    make_config: MakeConfig,
) -> None:
    found = {}
    for numbers in ("int4", "int8", "fp16"):
        config = make_config(f"runs_dir={make_config().runs_dir / numbers}", *CACHE)
        cache = config.distill.cache.model_copy(update={"numbers": numbers, "pixels": False})
        distill = config.distill.model_copy(update={"cache": cache})
        filled = command.fill(config.model_copy(update={"distill": distill}))
        assert filled.fidelity is not None
        assert filled.record_bytes == filled.feature_bytes
        found[numbers] = (filled.feature_bytes, min(filled.fidelity.centred.values()))
    assert 2 * found["int4"][0] == found["int8"][0] == found["fp16"][0] / 2
    assert 0.95 < found["int4"][1] < found["int8"][1] < found["fp16"][1] <= 1


def test_halves_come_back() -> None:
    numbers = torch.randint(-8, 8, (3, 7), dtype=torch.int8)
    packed = pack_halves(numbers)
    assert packed.shape == (3, 4) and packed.dtype == torch.uint8
    assert torch.equal(unpack_halves(packed)[:, :7], numbers)
    level = CachedLevel(stride=16, channels=1, height=7, width=1)
    assert level_bytes(level, "int4") == packed.shape[1]


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x10
    file.write_bytes(content)


@pytest.mark.parametrize("damage", ["flip", "truncate", "listing", "orphan"])
def test_verify_finds_damage_and_the_next_run_repairs_it(
    make_config: MakeConfig, damage: str, teacher_calls: list[int]
) -> None:
    config = make_config("name=one", *CACHE, "distill.epochs=1")
    whole = edgekd.distill.run(config)
    folder = cache_of(config)
    assert verify(folder).damaged == []
    (data,) = (folder / "shards").glob("*.bin")
    if damage == "flip":
        flip_a_byte(data)
    elif damage == "truncate":
        data.write_bytes(data.read_bytes()[:-5])
    elif damage == "listing":
        data.with_suffix(".json").write_text('{"records": [[')
    else:
        data.with_suffix(".json").unlink()
    if damage != "orphan":
        with pytest.raises(InputError, match="--verify"):
            edgekd.distill.run(make_config("name=two", *CACHE, "distill.epochs=2"))
    (found,) = verify(folder).damaged
    assert found.shard == data and not data.exists()
    teacher_calls.clear()
    again = edgekd.distill.run(make_config("name=three", *CACHE, "distill.epochs=1"))
    assert sum(teacher_calls) == 23
    assert same(tensors_of(whole.backbone), tensors_of(again.backbone))


def test_a_full_disk_before_and_while_filling(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(*CACHE, "distill.epochs=1")

    def nearly_full(path: Any) -> Any:
        del path
        return type("Usage", (), {"free": 1000})

    with monkeypatch.context() as patch:
        patch.setattr(cached_targets.shutil, "disk_usage", nearly_full)
        with pytest.raises(InputError, match=r"needs .* GB .* are free"):
            edgekd.distill.run(config)
    original = os.fsync

    def full(descriptor: int) -> None:
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if "shards" in name:
            raise OSError(28, "No space left on device")
        original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left on device"):
            edgekd.distill.run(config, resume=True)
    assert list((cache_of(config) / "shards").iterdir()) == []
    assert edgekd.distill.run(config, resume=True).backbone.is_file()


def test_stopped_while_filling_keeps_what_was_computed(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, teacher_calls: list[int]
) -> None:
    from edgekd.distill import StoppedError
    from edgekd.distill.feature_cache.filling import CacheFiller

    original = CacheFiller._records
    batches = 0

    def stopping(self: CacheFiller, pixels: torch.Tensor) -> Any:
        nonlocal batches
        batches += 1
        if batches == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, pixels)

    monkeypatch.setattr(CacheFiller, "_records", stopping)
    config = make_config(*CACHE, "distill.epochs=1")
    with pytest.raises(StoppedError, match="goes on from there"):
        edgekd.distill.run(config)
    folder = cache_of(config)
    kept = len(FeatureStore(folder, read_description(folder)))
    assert 0 < kept < 23
    teacher_calls.clear()
    edgekd.distill.run(config, resume=True)
    assert sum(teacher_calls) == 23 - kept


def test_the_command_fills_verifies_and_fails_on_damage(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from edgekd.cli import main

    make_config()
    arguments = ["edgekd", "cache", str(tmp_path / "config.yaml"), "distill.cache.views=2"]

    def call(*extra: str) -> tuple[int, str]:
        sys.argv = [*arguments, *extra]
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out + printed.err

    code, text = call("--verify")
    assert code == 2 and "no feature cache there" in text
    code, text = call()
    assert code == 0 and "23 to compute" in text and "fidelity" in text
    code, text = call("--verify")
    assert code == 0 and "0 damaged" in text
    (data,) = tmp_path.rglob("*.bin")
    flip_a_byte(data)
    code, text = call("--verify")
    assert code == 1 and "has other bytes than were written" in text
    code, text = call()
    assert code == 0 and "23 to compute" in text
