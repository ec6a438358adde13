"""Losses of classes, votes and dimensions, against other ways to compute them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from torch import Tensor
from torch.nn import functional as F

from voicetone.errors import DataError
from voicetone.evaluation import dimensions
from voicetone.models.losses import (
    LossSettings,
    Targets,
    ccc,
    ccc_loss,
    class_loss,
    class_weights,
    multi_loss,
    soft_loss,
)

TRUTH = torch.tensor([0, 2, -1, 1, 2, 2])
WEIGHTS = torch.tensor([2.0, 1.0, 0.5])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(smoothing: float) -> None:
    logits = drawn(6, 3)
    expected = F.cross_entropy(logits, TRUTH, ignore_index=-1, label_smoothing=smoothing)
    assert torch.allclose(class_loss(logits, TRUTH, smoothing=smoothing), expected)
    weighted = F.cross_entropy(logits, TRUTH, WEIGHTS, ignore_index=-1)
    assert torch.allclose(class_loss(logits, TRUTH, WEIGHTS), weighted)


def test_focal_loss_is_the_papers() -> None:
    logits, known = drawn(6, 3), TRUTH >= 0
    p = logits.softmax(1)[known, TRUTH[known]].numpy()
    expected = np.mean(-((1 - p) ** 2) * np.log(p))
    assert float(class_loss(logits, TRUTH, gamma=2.0)) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(
        class_loss(logits, TRUTH, WEIGHTS, gamma=0.0), class_loss(logits, TRUTH, WEIGHTS)
    )
    sure = torch.tensor([[90.0, 0.0, 0.0]]).requires_grad_()
    class_loss(sure, torch.tensor([0]), gamma=0.5).backward()
    assert sure.grad is not None
    assert sure.grad.isfinite().all()


def test_nothing_labelled_costs_nothing() -> None:
    logits = drawn(2, 3).requires_grad_()
    unknown = torch.tensor([-1, -1])
    votes, nan = torch.zeros(2, 3), torch.full((2, 3), torch.nan)
    total = (
        class_loss(logits, unknown, gamma=1.0) + soft_loss(logits, votes) + ccc_loss(logits, nan)
    )
    assert float(total.detach()) == 0.0
    total.backward()
    assert not logits.grad.any()


def test_soft_labels() -> None:
    logits = drawn(6, 3)
    sharp = torch.where(TRUTH[:, None] >= 0, F.one_hot(TRUTH.clamp(min=0), 3), 0).float()
    assert torch.allclose(soft_loss(logits, 5 * sharp), class_loss(logits, TRUTH))
    assert torch.allclose(soft_loss(logits, sharp, WEIGHTS), class_loss(logits, TRUTH, WEIGHTS))
    votes = torch.tensor([[3.0, 1.0, 0.0]])
    expected = -(0.75 * logits[:1].log_softmax(1)[0, 0] + 0.25 * logits[:1].log_softmax(1)[0, 1])
    assert torch.allclose(soft_loss(logits[:1], votes), expected)
    best = logits[:1].clone().requires_grad_()
    for _ in range(300):
        (slope,) = torch.autograd.grad(soft_loss(best, votes), best)
        best = (best - 2.0 * slope).detach().requires_grad_()
    assert torch.allclose(best.softmax(1), votes / 4, atol=0.02)


def test_ccc_is_the_metrics() -> None:
    found, truth = drawn(40, 2).sigmoid(), drawn(40, 2, seed=1).sigmoid() * 0.5
    truth[:, 1] += found[:, 1]
    truth[::3, 0] = torch.nan
    known = ~truth[:, 0].isnan()
    expected = [
        dimensions.ccc(truth[known, 0].double().numpy(), found[known, 0].double().numpy()),
        dimensions.ccc(truth[:, 1].double().numpy(), found[:, 1].double().numpy()),
    ]
    assert np.allclose(ccc(found, truth).numpy(), expected, atol=1e-5)
    assert float(ccc_loss(found, truth)) == pytest.approx(1.0 - np.mean(expected), abs=1e-5)
    whole = found.clone().requires_grad_()
    ccc_loss(whole, truth).backward()
    assert whole.grad is not None
    assert not whole.grad[::3, 0].any()
    assert whole.grad[known, 0].all()
    same = torch.full((4, 1), 0.5)
    assert float(ccc(same, same)) == 0.0
    lone = torch.tensor([[0.2], [torch.nan]])
    assert float(ccc_loss(same[:2], lone)) == 0.0


def test_class_weights() -> None:
    weights = class_weights(torch.tensor([10, 0, 30]))
    assert torch.allclose(weights, torch.tensor([2.0, 0.0, 2.0 / 3.0]))


def test_all_parts_together() -> None:
    logits = {"emotion": drawn(4, 3), "sentiment": drawn(4, 2, seed=1)}
    found, speakers = drawn(4, 2, seed=2).sigmoid(), drawn(4, 5, seed=3)
    votes, truth = drawn(4, 2, seed=4).abs(), drawn(4, 2, seed=5).sigmoid()
    who, label = torch.tensor([0, 4, -1, 2]), torch.tensor([0, 1, 2, -1])
    targets = Targets({"emotion": label}, {"sentiment": votes}, truth, who)
    settings = LossSettings({"emotion": WEIGHTS}, 2.0, 0.1, {"sentiment": 0.5}, 0.25)
    expected = (
        class_loss(logits["emotion"], label, WEIGHTS, gamma=2.0, smoothing=0.1)
        + 0.5 * soft_loss(logits["sentiment"], votes)
        + 0.25 * ccc_loss(found, truth)
        + class_loss(speakers, who)
    )
    assert torch.allclose(multi_loss(logits, found, speakers, targets, settings), expected)
    bare = Targets({}, {})
    assert float(multi_loss(logits, found, None, bare, settings)) == 0.0
    with pytest.raises(DataError, match="targets of 'age', which the network has no logits for"):
        multi_loss(logits, found, None, Targets({"age": label}, {}), settings)
    for wrong in ({"gamma": -1.0}, {"smoothing": 1.0}):
        with pytest.raises(DataError, match="give a gamma of 0 or more"):
            LossSettings(**wrong)
