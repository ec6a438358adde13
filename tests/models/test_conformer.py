"""The streaming Conformer: causal, the same in any chunking, blind to padding."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from voicetone.models.conformer import Conformer, ConformerConfig  # noqa: E402

CONFIG = ConformerConfig(inputs=6, width=8, layers=2, heads=2, kernel=3, past=5)


@pytest.fixture(scope="module")
def net() -> Conformer:
    torch.manual_seed(0)
    made = Conformer(CONFIG).eval()
    for block in made.blocks:
        torch.nn.init.normal_(block.attention.distance)
    return made


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.randn(2, 6, 40, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [1, 3, 7, 40])
def test_any_chunking_gives_the_same(net: Conformer, frames: torch.Tensor, size: int) -> None:
    with torch.no_grad():
        whole, end = net(frames, net.start(2))
        state, parts = net.start(2), []
        for at in range(0, 40, size):
            part, state = net(frames[:, :, at : at + size], state)
            parts.append(part)
    np.testing.assert_allclose(torch.cat(parts, 1), whole, atol=1e-5)
    np.testing.assert_allclose(state, end, atol=1e-5)


def test_no_frame_hears_a_later_one_nor_one_out_of_reach(
    net: Conformer, frames: torch.Tensor
) -> None:
    changed = frames.clone()
    changed[:, :, 20] += 5.0
    with torch.no_grad():
        before, after = net(frames, net.start(2))[0], net(changed, net.start(2))[0]
    moved = (before - after).abs().amax((0, 2)) > 1e-6
    reach = CONFIG.layers * (CONFIG.past + CONFIG.kernel - 1)
    assert not moved[:20].any()
    assert moved[20]
    assert not moved[20 + reach + 1 :].any()


def test_padding_changes_nothing(net: Conformer, frames: torch.Tensor) -> None:
    real = torch.ones(2, 40)
    real[1, 25:] = 0.0
    with torch.no_grad():
        together = net(frames, net.start(2), real)[0]
        alone = net(frames[1:, :, :25], net.start(1))[0]
    np.testing.assert_allclose(together[1:, :25], alone, atol=1e-5)


def test_the_beginning_is_not_taken_for_frames_of_zeros(net: Conformer) -> None:
    zeros = torch.zeros(1, 6, CONFIG.past + CONFIG.kernel)
    own = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        fresh = net(own, net.start(1))[0]
        after = net(torch.cat([zeros, own], 2), net.start(1))[0][:, -4:]
    assert (fresh - after).abs().max() > 1e-3
