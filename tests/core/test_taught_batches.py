"""Teaching ahead keeps the order of batches, and a compiled teacher gives the same targets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from core.conftest import MakeConfig
from rich.console import Console
from torch import nn

from edgekd.distill.compilation import compiled, require_compiler
from edgekd.distill.setup import prepare_data
from edgekd.distill.taught_batches import one_ahead
from edgekd.distill.trainer import DistillLoop
from edgekd_bench.errors import InputError

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler, and there is neither g++ nor clang++",
)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_one_ahead_is_in_order_and_one_ahead(count: int) -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(count):
            drawn.append(number)
            yield number

    seen = []
    for item in one_ahead(items()):
        assert len(drawn) == min(item + 2, count)
        seen.append(item)
    assert seen == list(range(count))


def test_on_a_cpu_each_batch_is_taught_when_it_is_asked_for(make_config: MakeConfig) -> None:
    config = make_config()
    loop = DistillLoop(config, prepare_data(config), Console(quiet=True))
    loop.source.prepare(resumed=False)
    batches = list(loop.source.loader.epoch(1, 1))
    taught = list(loop.taught.epoch(1, 1))
    assert len(taught) == len(batches) == 1
    assert torch.equal(taught[0].images, batches[0].pixels.float() / 255)
    targets = loop.source.targets(batches[0], taught[0].images)
    assert set(targets) == {8, 16, 32}
    assert all(torch.equal(taught[0].targets[stride], t) for stride, t in targets.items())


@needs_compiler
def test_a_compiled_teacher_gives_the_same_targets(make_config: MakeConfig) -> None:
    targets = []
    for compile_it in ("false", "true"):
        config = make_config("teacher.name=test_vit", f"distill.compile={compile_it}")
        loop = DistillLoop(config, prepare_data(config), Console(quiet=True))
        loop.source.prepare(resumed=False)
        targets.append(next(iter(loop.taught.epoch(0))).targets)
    eager, fast = targets
    assert all(torch.allclose(fast[s], eager[s], atol=1e-4) for s in eager)


@needs_compiler
def test_a_compiled_module_learns_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 2, 1))
    images = torch.rand(2, 3, 8, 8)
    file = tmp_path / "start.pt"
    torch.save(module.state_dict(), file)
    gradients = []
    for wrapped in (module, compiled(module)):
        module.load_state_dict(torch.load(file, weights_only=True))
        module.zero_grad(set_to_none=True)
        wrapped(images).square().mean().backward()
        gradients.append([p.grad.clone() for p in module.parameters() if p.grad is not None])
    for eager, fast in zip(*gradients, strict=True):
        assert torch.allclose(eager, fast, atol=1e-5)


def test_without_a_compiler_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object) -> object:
        del function
        raise RuntimeError("no C++ compiler\nfound")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(InputError, match=r"distill\.compile=false") as error:
        require_compiler(torch.device("cpu"))
    assert "\n" not in str(error.value)
