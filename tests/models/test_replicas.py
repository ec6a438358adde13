"""Stacked layers: each replica is what torch's own layer would be alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.models.replicas import (
    BatchNorm,
    Conv,
    Dense,
    Draws,
    Dropout,
    Linear,
    head,
    replica_state,
)

SEEDS = (3, 11, 4)
BATCH, FRAMES = 6, 9


def test_draws_of_a_seed_are_the_same_in_any_company() -> None:
    both, alone = Draws([5, 9]), Draws([9])
    for draw in ("uniform", "normal"):
        assert torch.equal(getattr(both, draw)(4, 2)[1], getattr(alone, draw)(4, 2)[0])
    shares = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    assert torch.equal(both.one_hot(shares, 7)[1], alone.one_hot(shares[1:], 7)[0])
    first, second = Draws([9, 9]).uniform(3)
    assert torch.equal(first, second)


def test_draws_have_their_distributions() -> None:
    draws = Draws([0, 1])
    uniform, normal = draws.uniform(20_000), draws.normal(20_000)
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1
    assert uniform.mean(1) == pytest.approx([0.5, 0.5], abs=0.01)
    assert normal.mean(1) == pytest.approx([0, 0], abs=0.03)
    assert normal.std(1) == pytest.approx([1, 1], abs=0.03)
    shares = torch.tensor([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    found = draws.one_hot(shares, 20_000)
    assert torch.equal(found.sum(2), torch.ones(2, 20_000))
    assert found.mean(1).numpy() == pytest.approx(shares.numpy(), abs=0.015)


LAYERS: dict[str, tuple[Callable[[Draws], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda d: Linear(5, 4, d), (BATCH, 5)),
    "batch norm": (lambda d: BatchNorm(5, d), (BATCH, 5)),
    "dropout": (lambda d: Dropout(0.4, d), (BATCH, 5)),
    "dense": (lambda d: Dense(5, (7, 4), 0.5, True, d), (BATCH, 5)),
    "head": (lambda d: head(5, 2, True, d), (BATCH, 5)),
    "convolution": (lambda d: Conv(5, 4, 4, (1, 2), d), (BATCH, 5, FRAMES)),
    "batch norm of frames": (lambda d: BatchNorm(5, d, frames=True), (BATCH, 5, FRAMES)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_replica_is_what_it_would_be_alone(name: str) -> None:
    make, shape = LAYERS[name]
    framewise = len(shape) == 3
    x = torch.randn(len(SEEDS), *shape, generator=torch.Generator().manual_seed(1))
    x.requires_grad_()
    together = make(Draws(SEEDS))
    out = _forward(together, x, framewise)
    (gradient,) = torch.autograd.grad(out.square().sum(), x, retain_graph=True)
    out.square().sum().backward()
    for index, seed in enumerate(SEEDS):
        alone = make(Draws([seed]))
        own_x = x.detach()[index : index + 1].clone().requires_grad_()
        one = _forward(alone, own_x, framewise)
        one.square().sum().backward()
        assert torch.allclose(out[index], one[0], atol=1e-6)
        assert own_x.grad is not None
        assert torch.allclose(gradient[index], own_x.grad[0], atol=1e-5)
        own = dict(alone.named_parameters())
        for key, parameter in together.named_parameters():
            assert parameter.grad is not None
            assert own[key].grad is not None
            assert torch.allclose(parameter.grad[index], own[key].grad[0], atol=1e-5)
        for key, value in replica_state(together, index).items():
            assert torch.allclose(value, alone.state_dict()[key], atol=1e-6)


def _forward(layer: nn.Module, x: Tensor, framewise: bool) -> Tensor:
    """`[R, B, ...]` in and out, whatever the layer takes."""
    if not framewise:
        return torch.as_tensor(layer(x))
    out = layer(x.transpose(0, 1).flatten(1, 2))
    return torch.as_tensor(out).view(len(out), len(x), -1, out.shape[2]).transpose(0, 1)


def test_linear_and_convolution_are_torchs() -> None:
    linear = Linear(5, 4, Draws(SEEDS))
    x = torch.randn(3, BATCH, 5)
    for index in range(3):
        wanted = F.linear(x[index], linear.weight[index].T, linear.bias[index, 0])
        assert torch.allclose(linear(x)[index], wanted, atol=1e-6)
    conv = Conv(5, 4, 4, (1, 2), Draws([0]))
    frames = torch.randn(BATCH, 5, FRAMES)
    wanted = F.conv1d(F.pad(frames, (1, 2)), conv.weight[0], conv.bias[0])
    assert torch.allclose(conv(frames), wanted, atol=1e-6)
    assert wanted.shape[2] == FRAMES


def test_initialised_as_torch_does() -> None:
    found = Linear(400, 300, Draws(SEEDS))
    wanted = nn.Linear(400, 300)
    for index in range(3):
        spread = float(found.weight[index].detach().std())
        assert spread == pytest.approx(float(wanted.weight.detach().std()), rel=0.02)
        assert float(found.bias[index].detach().abs().max()) <= 1 / 400**0.5
    conv, theirs = Conv(40, 50, 4, (0, 0), Draws([0])), nn.Conv1d(40, 50, 4)
    spread = float(conv.weight.detach().std())
    assert spread == pytest.approx(float(theirs.weight.detach().std()), rel=0.05)


@pytest.mark.parametrize("padding", [(1, 2), (0, 0)])
def test_a_convolution_with_other_padding_is_the_transposed_one(padding: tuple[int, int]) -> None:
    """As the decoder uses it: the adjoint of "same" has the paddings swapped."""
    kernel = 4
    swapped = (kernel - 1 - padding[0], kernel - 1 - padding[1])
    conv = Conv(3, 5, kernel, swapped, Draws([0]))
    x = torch.randn(2, 3, FRAMES)
    weight = conv.weight[0].transpose(0, 1).flip(2)
    whole = F.conv_transpose1d(x, weight, conv.bias[0])
    wanted = whole[..., padding[0] : whole.shape[2] - padding[1]]
    assert torch.allclose(conv(x), wanted, atol=1e-6)


@pytest.mark.parametrize("frames", [False, True])
def test_batch_norm_is_torchs(frames: bool) -> None:
    found = BatchNorm(5, Draws(SEEDS), frames=frames)
    theirs = [nn.BatchNorm1d(5) for _ in SEEDS]
    for _ in range(3):
        x = 3 * torch.randn(3, BATCH, 5, FRAMES) + 2 if frames else torch.randn(3, BATCH, 5)
        out = _forward(found, x, frames)
        for index, norm in enumerate(theirs):
            assert torch.allclose(out[index], norm(x[index]), atol=1e-5)
    found.eval()
    for index, norm in enumerate(theirs):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert torch.allclose(found.running_mean[index], norm.running_mean, atol=1e-6)
        assert torch.allclose(found.running_var[index], norm.running_var, atol=1e-5)
        assert torch.allclose(_forward(found, x, frames)[index], norm.eval()(x[index]), atol=1e-5)


def test_dropout_drops_its_share_in_training_only() -> None:
    layer = Dropout(0.3, Draws([0, 1]))
    x = torch.ones(2, 200, 100)
    out = layer(x)
    assert (out == 0).float().mean((1, 2)).numpy() == pytest.approx([0.3, 0.3], abs=0.02)
    assert out[out > 0].unique().numpy() == pytest.approx([1 / 0.7])
    assert not torch.equal(out[0], out[1])
    assert torch.equal(layer.eval()(x), x)


def test_dropout_stands_between_layers_only() -> None:
    kinds = [type(m).__name__ for m in Dense(5, (4, 4, 4), 0.5, True, Draws([0])).layers]
    block = ["Linear", "BatchNorm", "ReLU"]
    assert kinds == [*block, "Dropout", *block, "Dropout", *block]
    plain = [type(m).__name__ for m in Dense(5, (4,), 0.5, False, Draws([0])).layers]
    assert plain == ["Linear", "ReLU"]
