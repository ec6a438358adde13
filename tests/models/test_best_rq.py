"""BEST-RQ: codes that nothing moves, gaps that are filled with noise, guesses of what was there."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from voicetone.models.best_rq import (  # noqa: E402
    BestRq,
    BestRqConfig,
    Quantiser,
    hidden_frames,
    whitening_of,
)
from voicetone.models.front import Front, FrontConfig  # noqa: E402

FRONT = FrontConfig(
    mels=8, lags=4, stem=(2, 3), width=6, expand=2, kernel=3, dilations=(1, 2), dropout=0.1
)
SIZES = BestRqConfig(codes=32, codebooks=2, dimension=4, context_width=8)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(config: BestRqConfig = SIZES) -> BestRq:
    torch.manual_seed(0)
    return BestRq(Front(FRONT), config, drawn(0)).eval()


def test_the_nearest_code_is_named() -> None:
    quantiser = Quantiser(16, SIZES, drawn(0))
    x = torch.randn(3, 5, 16, generator=drawn(1))
    codes = quantiser(x)
    assert codes.shape == (3, 5, 2)
    for book in range(2):
        y = x @ quantiser.projection[book]
        y = y / y.norm(dim=2, keepdim=True)
        gap = (y[:, :, None] - quantiser.codebook[book]).norm(dim=3)
        np.testing.assert_array_equal(codes[:, :, book], gap.argmin(2))
    assert (quantiser.codebook.norm(dim=2) - 1).abs().max() < 1e-6
    assert torch.equal(quantiser(3.0 * x), codes)  # loudness of the projection says nothing


def test_the_quantiser_is_frozen_and_a_matter_of_its_seed() -> None:
    net = made()
    before = {k: v.clone() for k, v in net.quantiser.state_dict().items()}
    assert not list(net.quantiser.parameters())
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    x = torch.randn(2, 24, 12, generator=drawn(1))
    hidden = torch.zeros(2, 12, dtype=torch.bool)
    hidden[:, 3:6] = True
    net.train()(x, hidden, torch.randn(x.shape, generator=drawn(2))).loss.backward()
    optimiser.step()
    for key, value in net.quantiser.state_dict().items():
        assert torch.equal(value, before[key])
    again = Quantiser(16, SIZES, drawn(0)).state_dict()
    other = Quantiser(16, SIZES, drawn(1)).state_dict()
    assert torch.equal(again["codebook"], before["codebook"])
    assert not torch.equal(other["codebook"], before["codebook"])
    assert not torch.equal(other["projection"], before["projection"])


def test_whitening_gives_each_component_the_same_spread_and_more_codes_a_share() -> None:
    mix = torch.randn(10, 10, generator=drawn(1)) * torch.logspace(1, -1, 10)
    x = torch.randn(4000, 10, generator=drawn(2)) @ mix.T
    x = x - x.mean(0)
    white = whitening_of(x.T @ x / len(x), 6)
    assert white.shape == (10, 6)
    y = x @ white
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(6), atol=1e-3)
    config = BestRqConfig(codes=64, codebooks=1, dimension=8)
    used = [
        len(set(Quantiser(10, config, drawn(3), w)(x[None]).flatten().tolist()))
        for w in (None, white)
    ]
    assert used[1] > used[0]


@pytest.mark.parametrize("span", [1, 3, 40])
def test_hidden_stretches(span: int) -> None:
    hidden = hidden_frames(np.random.default_rng(0), 6, 20, 0.1, span)
    begin = np.random.default_rng(0).random((6, 20)) < 0.1
    wanted = np.zeros_like(begin)
    for row, at in zip(*np.nonzero(begin), strict=True):
        wanted[row, at : at + span] = True
    np.testing.assert_array_equal(hidden, wanted)
    assert hidden.any()


def test_something_is_always_hidden() -> None:
    for seed in range(20):
        hidden = hidden_frames(np.random.default_rng(seed), 2, 10, 1e-9, 4)
        assert hidden.any()
        assert hidden.sum() <= 4


@pytest.mark.parametrize("context", ["none", "gru", "conformer"])
def test_what_is_hidden_can_not_be_heard(context: str) -> None:
    net = made(BestRqConfig(codes=32, codebooks=1, dimension=4, context=context, context_width=8))  # type: ignore[arg-type]
    x = torch.randn(1, 40, 12, generator=drawn(1))
    noise = torch.randn(x.shape, generator=drawn(2))
    hidden = torch.zeros(1, 20, dtype=torch.bool)
    hidden[0, 8:11] = True
    changed = x.clone()
    changed[:, 16:22] += 3.0 * torch.randn(1, 6, 12, generator=drawn(3))
    heard = x.clone()
    heard[:, 14] += 3.0
    with torch.no_grad():
        one, two, three = (net(v, hidden, noise) for v in (x, changed, heard))
    assert one.logits.shape == (3, 1, 32)
    assert torch.equal(one.logits, two.logits)
    assert not torch.equal(one.truth, two.truth)
    assert not torch.equal(one.logits, three.logits)


@pytest.mark.parametrize(
    ("context", "looks"), [("none", False), ("conformer", False), ("gru", True)]
)
def test_what_comes_after_a_gap_is_heard_through_the_bidirectional_context(
    context: str, looks: bool
) -> None:
    net = made(BestRqConfig(codes=32, codebooks=1, dimension=4, context=context, context_width=8))  # type: ignore[arg-type]
    x = torch.randn(1, 40, 12, generator=drawn(1))
    later = x.clone()
    later[:, 22:] += 1.0
    hidden = torch.zeros(1, 20, dtype=torch.bool)
    hidden[0, 8:11] = True
    noise = torch.zeros_like(x)
    with torch.no_grad():
        one, two = (net(v, hidden, noise) for v in (x, later))
    assert torch.equal(one.logits, two.logits) is not looks


def test_the_pitch_map_is_in_the_codes_only_where_asked() -> None:
    x = torch.randn(1, 40, 12, generator=drawn(1))
    other = x.clone()
    other[:, :, 8:] = torch.randn(1, 40, 4, generator=drawn(2))
    for pitch in (False, True):
        net = made(BestRqConfig(codes=32, codebooks=1, dimension=4, pitch=pitch, context_width=8))
        assert torch.equal(net.codes(x), net.codes(other)) is not pitch


def test_the_loss_is_the_mean_over_hidden_frames_and_codebooks() -> None:
    net = made()
    x = torch.randn(2, 24, 12, generator=drawn(1))
    hidden = torch.zeros(2, 12, dtype=torch.bool)
    hidden[0, 3:6], hidden[1, 7] = True, True
    with torch.no_grad():
        guesses = net(x, hidden, torch.zeros_like(x))
    shares = torch.log_softmax(guesses.logits, 2)
    wanted = [-shares[i, k, guesses.truth[i, k]] for i in range(4) for k in range(2)]
    assert float(guesses.loss) == pytest.approx(float(torch.stack(wanted).mean()), rel=1e-5)
    assert torch.equal(guesses.truth, guesses.codes[hidden])
