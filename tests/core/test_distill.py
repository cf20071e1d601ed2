"""The distillation loop: it learns, stops, resumes exactly, and leaves loadable files."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from core.conftest import MakeConfig, run_until
from torch.nn import functional as F

import edgekd
from edgekd.distill import StoppedError
from edgekd.distill.checkpoint import BACKBONE_FORMAT, tensors_hash
from edgekd.distill.interrupt import StopRequest
from edgekd.distill.metrics_log import read_metrics
from edgekd.distill.module import DistillModule
from edgekd.distill.optimization import learning_rate
from edgekd.distill.target_space import TargetSpace
from edgekd.distill.targets import averaged_to, match_levels
from edgekd.models.student import StudentBackbone, backbone_state, build_detector
from edgekd.models.teacher import TeacherLevel
from edgekd_bench.errors import InputError


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path, weights_only=True)
    assert content["format"] == BACKBONE_FORMAT
    return dict(content["tensors"])


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_leaves_everything_it_promises(make_config: MakeConfig) -> None:
    config = make_config("distill.epochs=12", "distill.checkpoint_every=5", "distill.lr=0.005")
    result = edgekd.distill.run(config)
    folder = config.run_dir / "distill"
    lines = read_metrics(result.metrics)
    assert [line["epoch"] for line in lines] == list(range(1, 13))
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert result.heldout_cosine == max(line["heldout_cosine"] for line in lines)
    assert {"heldout_cosine/p3", "loss/p5/smooth_l1", "lr", "images_per_second"} <= set(lines[0])
    names = {p.name for p in folder.iterdir()}
    assert {"last.pt", "best.pt", "checkpoint_epoch_5.pt", "checkpoint_epoch_10.pt"} <= names
    assert any((folder / "tensorboard").iterdir())
    own = backbone_state(build_detector("yolo11n.yaml"))
    tensors = tensors_of(result.backbone)
    assert {n: t.shape for n, t in tensors.items()} == {n: t.shape for n, t in own.items()}
    metadata = json.loads(torch.load(result.backbone, weights_only=True)["metadata"])
    assert metadata["tensors_hash"] == tensors_hash(tensors)
    assert metadata["teacher"]["name"].startswith("test_efficientnet")


def test_the_neck_can_learn_too_and_is_handed_over(
    make_config: MakeConfig, labelled_set: Path
) -> None:
    config = make_config("distill.epochs=1", "distill.scope=backbone+neck", f"data={labelled_set}")
    result = edgekd.distill.run(config)
    own = backbone_state(build_detector("yolo11n.yaml"), "backbone+neck")
    tensors = tensors_of(result.backbone)
    assert set(tensors) == set(own) > set(backbone_state(build_detector("yolo11n.yaml")))
    trained = edgekd.train.run(config, backbone_weights=result.backbone)
    assert trained.handover is not None
    assert trained.handover.num_equal == trained.handover.num_total == len(own)


def test_a_stopped_and_resumed_run_ends_bit_identical(make_config: MakeConfig) -> None:
    whole = edgekd.distill.run(make_config("name=whole", "distill.epochs=3"))
    config = make_config("name=parts", "distill.epochs=3")
    for stop_after in (2, 3):
        with pytest.raises(StoppedError, match="continue with --resume"):
            run_until(config, stop_after)
    resumed = edgekd.distill.run(config, resume=True)
    assert same(tensors_of(whole.backbone), tensors_of(resumed.backbone))
    keys = ("epoch", "heldout_cosine", "lr")
    whole_lines, lines = read_metrics(whole.metrics), read_metrics(resumed.metrics)
    assert [[x[k] for k in keys] for x in whole_lines] == [[x[k] for k in keys] for x in lines]


def test_an_earlier_run_is_not_overwritten_by_accident(make_config: MakeConfig) -> None:
    config = make_config("distill.epochs=1")
    edgekd.distill.run(config)
    with pytest.raises(InputError, match=r"--resume.*--overwrite"):
        edgekd.distill.run(config)
    edgekd.distill.run(config, overwrite=True)


def test_resume_under_other_options_is_refused(make_config: MakeConfig) -> None:
    edgekd.distill.run(make_config("distill.epochs=1"))
    with pytest.raises(InputError, match="other options or images"):
        edgekd.distill.run(make_config("distill.epochs=1", "distill.lr=0.1"), resume=True)


def test_half_written_checkpoint(make_config: MakeConfig) -> None:
    config = make_config("distill.epochs=1")
    edgekd.distill.run(config)
    last = config.run_dir / "distill" / "last.pt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged"):
        edgekd.distill.run(config, resume=True)


def test_leak_guard(make_config: MakeConfig, labelled_set: Path) -> None:
    val = labelled_set.parent / "images" / "val"
    config = make_config(f"data={labelled_set}", f"unlabeled.roots=['{val}']")
    with pytest.raises(InputError, match="detection val set"):
        edgekd.distill.run(config)


def test_unwritable_run_folder(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        edgekd.distill.run(make_config(f"runs_dir={tmp_path / 'file'}"))


def test_full_disk_keeps_the_earlier_checkpoint(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("distill.epochs=1")
    edgekd.distill.run(config)
    last = config.run_dir / "distill" / "last.pt"
    before = last.read_bytes()

    def full(content: object, stream: object) -> None:
        del content
        stream.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left"):
        edgekd.distill.run(config, overwrite=True)
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".*partial"))


def test_too_few_images(make_config: MakeConfig, image_folder: Path) -> None:
    with pytest.raises(InputError, match="at least 3"):
        edgekd.distill.run(make_config(f"unlabeled.roots=['{image_folder / '0[0-1].jpg'}']"))


@pytest.mark.parametrize(
    "override",
    [
        "teacher.name=test_vit",
        "distill.projector=mlp",
        "distill.levels={p3: 0, p4: 1, p5: 0}",
        "distill.losses=[{name: kl, temperature: 2}, {name: mse}]",
        "distill.precision=bf16",
    ],
)
def test_other_choices_run(make_config: MakeConfig, override: str) -> None:
    result = edgekd.distill.run(make_config("distill.epochs=1", override))
    assert result.backbone.is_file()


def test_second_signal_interrupts_at_once() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        _wait_for(lambda: stop.requested is not None)
        assert stop.requested == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            _wait_for(lambda: False)


def _wait_for(condition: object) -> None:
    assert callable(condition)
    for _ in range(100):
        if condition():
            return
        threading.Event().wait(0.01)


def test_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, 100, 10, 1.0) for step in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert rates[10] == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert 0.01 <= rates[-1] < 0.02


def test_levels_match_by_stride() -> None:
    pyramid = [TeacherLevel(8, 40), TeacherLevel(16, 112), TeacherLevel(32, 320)]
    assert [p.teacher_stride for p in match_levels((8, 16, 32), pyramid)] == [8, 16, 32]
    vit = match_levels((8, 16, 32), [TeacherLevel(16, 384)])
    assert [(p.teacher_stride, p.embed_dim) for p in vit] == [(16, 384)] * 3


def test_a_map_finer_than_the_targets_is_averaged_before_it_is_projected_all_the_same() -> None:
    pairs = match_levels((8, 16, 32), [TeacherLevel(16, 24)])
    backbone = StudentBackbone(build_detector("yolo11n.yaml"), "backbone")
    module = DistillModule(backbone, pairs, "linear").eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        features, projected = backbone(images), module(images)
        late = F.avg_pool2d(module.projectors["8"](features[8]), 2)
    assert {s: tuple(p.shape) for s, p in projected.items()} == {
        8: (2, 24, 4, 6),
        16: (2, 24, 4, 6),
        32: (2, 24, 2, 3),
    }
    assert torch.allclose(projected[8], late, atol=1e-5)


def test_targets_finer_than_the_student_are_averaged_to_its_grid() -> None:
    student, target = torch.rand(1, 2, 4, 4), torch.rand(1, 2, 8, 8)
    assert torch.allclose(averaged_to(student, target), F.avg_pool2d(target, 2))
    assert averaged_to(target, target) is target


def test_statistics_standardise() -> None:
    class Fake:
        def __call__(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
            return {16: torch.cat([images * 7 + 3, torch.ones_like(images[:, :1])], 1)}

    space = TargetSpace([TeacherLevel(16, 4)], "standardize")
    batches = [torch.rand(4, 3, 5, 5) for _ in range(3)]
    assert space.measure(Fake(), batches) == 12  # type: ignore[arg-type]
    out = space(Fake()(torch.cat(batches)))[16]
    assert out[:, :3].mean((0, 2, 3)).abs().max() < 1e-4
    assert (out[:, :3].std((0, 2, 3)) - 1).abs().max() < 0.01
    assert out[:, 3].abs().max() < 1e-3  # a constant channel stays silent
