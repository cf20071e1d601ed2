"""Properties every distillation loss must have."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from edgekd.config import LossTerm
from edgekd.losses import (
    WeightedLoss,
    cosine_loss,
    gram_loss,
    kl_loss,
    mse_loss,
    pkd_loss,
    relation_loss,
    smooth_l1_loss,
)

LOSSES = [
    cosine_loss,
    partial(cosine_loss, temperature=0.2),
    smooth_l1_loss,
    mse_loss,
    kl_loss,
    gram_loss,
    relation_loss,
    pkd_loss,
]


def maps(seed: int) -> torch.Tensor:
    return torch.randn(2, 8, 4, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_at_equality_and_positive_elsewhere(loss: object) -> None:
    assert callable(loss)
    a, b = maps(0), maps(1)
    assert loss(a, a).item() == pytest.approx(0, abs=1e-6)
    assert loss(a, b).item() > 0.01


@pytest.mark.parametrize("loss", LOSSES)
def test_descending_it_brings_the_student_closer(loss: object) -> None:
    assert callable(loss)
    student, teacher = maps(0).requires_grad_(), maps(1)
    first = loss(student, teacher)
    (gradient,) = torch.autograd.grad(first, student)
    assert loss(student - gradient, teacher) < first


def test_cosine_ignores_length_but_smooth_l1_does_not() -> None:
    a, b = maps(0), maps(1)
    assert cosine_loss(3 * a, b).item() == pytest.approx(cosine_loss(a, b).item(), abs=1e-5)
    assert cosine_loss(-a, a).item() == pytest.approx(2, abs=1e-5)
    assert smooth_l1_loss(3 * a, a) > 0.1


def test_kl_ignores_a_constant_and_depends_on_temperature() -> None:
    a, b = maps(0), maps(1)
    assert kl_loss(a + 5, b).item() == pytest.approx(kl_loss(a, b).item(), abs=1e-5)
    assert kl_loss(a, b, temperature=4.0).item() != pytest.approx(kl_loss(a, b).item(), rel=0.05)


def test_weighted_sum_and_no_gradient_into_the_teacher() -> None:
    terms = [LossTerm(name="cosine", weight=2), LossTerm(name="mse", weight=0.5)]
    student, teacher = maps(0).requires_grad_(), maps(1).requires_grad_()
    total, parts = WeightedLoss(terms)(student, teacher)
    expected = 2 * cosine_loss(student, teacher) + 0.5 * mse_loss(student, teacher)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert set(parts) == {"cosine", "mse"}
    total.backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_temperature_reaches_kl() -> None:
    student, teacher = maps(0), maps(1)
    total, _ = WeightedLoss([LossTerm(name="kl", temperature=3)])(student, teacher)
    assert total.item() == pytest.approx(kl_loss(student, teacher, 3.0).item())


def test_relations_ignore_a_rotation_of_the_feature_space() -> None:
    a, b = maps(0), maps(1)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)))[0]
    turned = torch.einsum("ed,bdhw->behw", rotation, a) * 3
    for loss in (gram_loss, relation_loss):
        assert loss(turned, a).item() == pytest.approx(0, abs=1e-5)
        assert loss(turned, b).item() == pytest.approx(loss(a, b).item(), rel=1e-3)
    assert cosine_loss(turned, a) > 0.3


def test_large_maps_are_averaged_before_they_are_related() -> None:
    student, teacher = torch.rand(1, 4, 64, 48), torch.rand(1, 4, 64, 48)
    assert gram_loss(student, student).item() == pytest.approx(0, abs=1e-6)
    assert gram_loss(student, teacher) > 0


def test_pkd_ignores_scale_and_offset_of_a_channel() -> None:
    a, b = maps(0), maps(1)
    scale, offset = torch.rand(1, 8, 1, 1) + 0.5, torch.randn(1, 8, 1, 1)
    assert pkd_loss(a * scale + offset, b).item() == pytest.approx(pkd_loss(a, b).item(), rel=1e-3)
    assert pkd_loss(-a, a).item() == pytest.approx(2, rel=1e-3)  # correlation −1


def test_cosine_temperature_goes_from_the_worst_position_to_the_mean() -> None:
    a, b = maps(0), maps(1)
    distance = 1 - torch.nn.functional.cosine_similarity(a, b, dim=1).flatten(1)
    assert cosine_loss(a, b, 1e-4).item() == pytest.approx(distance.amax(1).mean().item(), rel=1e-3)
    assert cosine_loss(a, b, 1e4).item() == pytest.approx(cosine_loss(a, b).item(), rel=1e-3)


def test_temperature_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(ValueError, match="takes no temperature"):
        LossTerm(name="gram", temperature=1.0)
