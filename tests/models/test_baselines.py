"""The baseline networks: sizes as published, and padding that changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from voicetone.models.cnn import Cnn, CnnConfig, fitted
from voicetone.models.lstm import Lstm, LstmConfig
from voicetone.models.mlp import Mlp, MlpConfig


def _count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_mlp_is_the_papers() -> None:
    net = Mlp(MlpConfig(6373, 3))
    assert _count(net) == 6373 * 256 + 256 + 256 * 256 + 256 + 256 * 3 + 3
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    assert net(torch.zeros(5, 6373)).shape == (5, 3)


def test_the_cnn_closes_at_1024_frames() -> None:
    config = CnnConfig(65, 3)
    assert config.frames == 1024
    net = Cnn(config)
    convolutions = 4 * (65 * 128 + 128 * 128 + 128 * 256 + 256 * 256 + 256 * 256)
    dense = 2 * (256 * 256 + 256) + 256 * 3 + 3
    assert _count(net) == convolutions + 128 + 128 + 256 + 256 + 256 + dense
    assert net(torch.zeros(2, 1024, 65)).shape == (2, 3)


def test_the_cnn_pads_with_zeros_and_takes_the_middle() -> None:
    torch.manual_seed(0)
    net = Cnn(CnnConfig(5, 3, channels=(8, 8), last=8, dense=(8,))).eval()
    assert net.config.frames == 64
    short = torch.randn(2, 40, 5)
    padded = torch.cat([short, torch.zeros(2, 24, 5)], dim=1)
    assert torch.allclose(net(short), net(padded), atol=1e-6)
    long = torch.randn(1, 100, 5)
    assert torch.equal(fitted(long, 64), long[:, 18:82])
    assert not torch.allclose(net(short), net(short.flip(1)), atol=1e-4)


@pytest.mark.parametrize("stride", [1, 4])
def test_padding_has_no_influence_on_the_lstm(stride: int) -> None:
    torch.manual_seed(0)
    net = Lstm(LstmConfig(5, 3, hidden=8, stride=stride)).eval()
    one, two = torch.randn(1, 23, 5), torch.randn(1, 41, 5)
    batch = torch.full((2, 41, 5), 7.0)  # what lies beyond the length is not even zero
    batch[0, :23], batch[1] = one[0], two[0]
    together = net(batch, torch.tensor([23, 41]))
    alone = torch.cat([net(one, torch.tensor([23])), net(two, torch.tensor([41]))])
    assert torch.allclose(together, alone, atol=1e-5)


def test_all_learn_from_gradients() -> None:
    torch.manual_seed(0)
    nets = {
        "mlp": (Mlp(MlpConfig(5, 3)), torch.randn(4, 5)),
        "cnn": (Cnn(CnnConfig(5, 3, channels=(8,), last=8, dense=(8,))), torch.randn(4, 16, 5)),
        "lstm": (Lstm(LstmConfig(5, 3, hidden=8)), torch.randn(4, 16, 5)),
    }
    for net, x in nets.values():
        net(x, torch.full((4,), 16)).sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
