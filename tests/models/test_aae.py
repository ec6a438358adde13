"""The adversarial autoencoder: the paper's sizes, its losses, and frames that are not there."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.errors import DataError
from voicetone.models import aae
from voicetone.models.aae import Aae, AaeConfig
from voicetone.models.replicas import BatchNorm, Draws

UTTERANCE = AaeConfig(inputs=6373, classes=(3,))
FRAME = AaeConfig(inputs=65, classes=(3,), frames=1024)


def _count(net: nn.Module | None) -> int:
    assert net is not None
    return sum(p.numel() for p in net.parameters())


def _dense(*sizes: int) -> int:
    return sum(a * b + b for a, b in itertools.pairwise(sizes))


def _conv(*pairs: tuple[int, int], kernel: int = 4) -> int:
    return sum(a * b * kernel + b for a, b in pairs)


JUDGES = _dense(3, 256, 256, 1) + _dense(100, 256, 256, 1)


def test_sizes_of_the_utterance_level() -> None:
    net = Aae(UTTERANCE, Draws([0]))
    body = _dense(6373, 256, 256)
    assert _count(net.encoder) == body + _dense(256, 3) + _dense(256, 100)
    assert _count(net.decoder) == _dense(103, 256, 256, 6373)
    assert _count(net.discriminators) == JUDGES
    base = Aae(AaeConfig(inputs=6373, classes=(3,), style=0), Draws([0]))
    assert _count(base) == body + _dense(256, 3)
    assert base.decoder is None


def test_sizes_of_the_frame_level() -> None:
    """Table 2, and the projection to 65 features that it omits."""
    net = Aae(FRAME, Draws([0]))
    stack = _conv((65, 128), (128, 128), (128, 256), (256, 256), (256, 256))
    assert _count(net.encoder) == stack + _dense(256, 256, 256) + _dense(256, 3) + _dense(256, 100)
    back = _conv((256, 256), (256, 256), (256, 256), (256, 128), (128, 128))
    out = _conv((128, 65), kernel=1)
    assert _count(net.decoder) == _dense(103, 256, 256) + back + out
    assert _count(net.discriminators) == JUDGES


def test_sizes_are_free() -> None:
    net = Aae(AaeConfig(inputs=7, classes=(4, 2), style=5, hidden=(8,)), Draws([0, 1]))
    logits, z = net.encoder(torch.randn(2, 3, 7))
    assert [y.shape for y in logits] == [(2, 3, 4), (2, 3, 2)]
    assert z is not None
    assert z.shape == (2, 3, 5)
    assert len(net.discriminators) == 3
    assert net.decoder is not None
    assert net.decoder(logits, z).shape == (2, 3, 7)


def _norms(net: nn.Module | None) -> int:
    assert net is not None
    return sum(isinstance(m, BatchNorm) for m in net.modules())


def test_optimized_normalises_every_layer_but_the_discriminators() -> None:
    net = Aae(AaeConfig(inputs=9, classes=(3,), batch_norm=True), Draws([0]))
    assert (_norms(net.encoder), _norms(net.decoder), _norms(net.discriminators)) == (4, 3, 0)
    config = AaeConfig(inputs=9, classes=(3,), frames=64, batch_norm=True, channels=(4, 4, 4, 4))
    frames = Aae(config, Draws([0]))
    assert (_norms(frames.encoder), _norms(frames.decoder)) == (5 + 2 + 2, 2 + 5 + 1)
    assert _norms(Aae(UTTERANCE, Draws([0]))) == 0


def _dropouts(net: nn.Module) -> list[float]:
    return [m.rate for m in net.modules() if type(m).__name__ == "Dropout"]


def test_dropout_of_the_discriminators_is_their_own() -> None:
    config = AaeConfig(inputs=9, classes=(3,), dropout=0.25, discriminator_dropout=0.5)
    net = Aae(config, Draws([0]))
    assert _dropouts(net.encoder) == [0.25]
    assert _dropouts(net.discriminators) == [0.5, 0.5]


@pytest.mark.parametrize(
    ("frames", "pools"),
    [(1024, (4, 4, 4, 4)), (384, (4, 4, 3, 2)), (256, (4, 4, 4, 1)), (192, (4, 4, 3, 1)),
     (128, (4, 4, 2, 1)), (4, (1, 1, 1, 1))],
)  # fmt: skip
def test_pools(frames: int, pools: tuple[int, ...]) -> None:
    config = AaeConfig(inputs=2, classes=(2,), frames=frames, channels=(3, 3, 3, 3), hidden=(4,))
    assert config.pools == pools
    net = Aae(config, Draws([0])).eval()
    x = torch.randn(1, 2, frames, 2)
    logits, z = net.encoder(x, torch.ones(1, 2, frames))
    assert net.decoder is not None
    assert z is not None
    assert net.decoder(logits, z).shape == x.shape


@pytest.mark.parametrize("frames", [1, 2, 7, 100, 1000, 1026, 2048, 4 * 5, -4])
def test_other_lengths_are_refused(frames: int) -> None:
    with pytest.raises(DataError, match=f"frames = {frames} can't be pooled"):
        _ = AaeConfig(inputs=2, classes=(2,), frames=frames).pools


def _frame_net(draws: Draws) -> Aae:
    config = AaeConfig(inputs=3, classes=(2,), frames=64, channels=(4, 4, 5, 5), hidden=(6, 6))
    return Aae(config, draws).eval()


def _masked(lengths: list[int], inputs: int = 3, frames: int = 64) -> tuple[Tensor, Tensor]:
    """Utterances of several lengths `[1, B, frames, inputs]`, zeros after their end."""
    mask = (torch.arange(frames) < torch.tensor(lengths)[:, None]).float()[None]
    x = torch.randn(1, len(lengths), frames, inputs, generator=torch.Generator().manual_seed(2))
    return x * mask[..., None], mask


def test_what_follows_the_end_of_an_utterance_is_the_same_for_all() -> None:
    """Codes of an utterance don't depend on who else is in the batch, nor on trailing frames."""
    net = _frame_net(Draws([0]))
    x, mask = _masked([64, 13, 40])
    logits, z = net.encoder(x, mask)
    assert z is not None
    one, own = net.encoder(x[:, 1:2], mask[:, 1:2])
    assert own is not None
    assert torch.allclose(logits[0][:, 1], one[0][:, 0], atol=1e-6)
    assert torch.allclose(z[:, 1], own[:, 0], atol=1e-6)


def test_the_mask_counts() -> None:
    """Silence that is there is not the same as an end: the blocks after it are zero."""
    net = _frame_net(Draws([0]))
    x, mask = _masked([13])
    _, ended = net.encoder(x, mask)
    _, silent = net.encoder(x, torch.ones_like(mask))
    assert ended is not None
    assert silent is not None
    assert not torch.allclose(ended, silent, atol=1e-5)


def test_frames_that_are_heard_count() -> None:
    net = _frame_net(Draws([0]))
    x, mask = _masked([13])
    _, z = net.encoder(x, mask)
    x[:, :, 12] += 5
    _, other = net.encoder(x, mask)
    assert z is not None
    assert other is not None
    assert not torch.allclose(z, other, atol=1e-5)


def test_adversarial_losses_are_cross_entropies() -> None:
    prior, codes = 3 * torch.randn(4, 7), 3 * torch.randn(4, 7)
    bce = F.binary_cross_entropy_with_logits
    for index in range(4):
        real = bce(prior[index], torch.ones(7))
        fake = bce(codes[index], torch.zeros(7))
        judged = aae.discriminator_loss(prior, codes)[index]
        assert float(judged) == pytest.approx(float(real + fake) / 2, abs=1e-6)
        fooled = aae.generator_loss(codes)[index]
        assert float(fooled) == pytest.approx(float(bce(codes[index], torch.ones(7))), abs=1e-6)
    zeros = torch.zeros(1, 5)
    assert float(aae.discriminator_loss(zeros, zeros)) == pytest.approx(math.log(2))
    assert pytest.approx(math.log(2)) == aae.CHANCE
    assert torch.isfinite(aae.discriminator_loss(-1000 + zeros, 1000 + zeros)).all()


def test_reconstruction_loss_is_of_frames_that_are_there() -> None:
    x, mask = _masked([64, 10])
    found = torch.randn_like(x)
    wanted = torch.cat([(found - x)[0, 0].square(), (found - x)[0, 1, :10].square()]).mean()
    assert float(aae.reconstruction_loss(x, found, mask)) == pytest.approx(float(wanted), rel=1e-5)
    rubbish = found.clone()
    rubbish[0, 1, 10:] = 99
    assert torch.equal(
        aae.reconstruction_loss(x, found, mask), aae.reconstruction_loss(x, rubbish, mask)
    )
    flat = torch.randn(2, 5, 9)
    for index in range(2):
        error = aae.reconstruction_loss(flat, flat.flip(2))[index]
        assert float(error) == pytest.approx(float(F.mse_loss(flat[index].flip(1), flat[index])))


def test_classification_loss_leaves_out_who_has_no_label() -> None:
    logits = torch.randn(2, 4, 3)
    truth = torch.tensor([[0, 2, -1, 1], [-1, -1, -1, -1]])
    found = aae.classification_loss(logits, truth)
    wanted = F.cross_entropy(logits[0, [0, 1, 3]], torch.tensor([0, 2, 1]))
    assert float(found[0]) == pytest.approx(float(wanted), abs=1e-6)
    assert float(found[1]) == 0
