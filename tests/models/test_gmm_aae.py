"""The mixture on a circle, its room and its densities; and the network that is told the class."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from voicetone.errors import DataError
from voicetone.models.gmm_aae import Doubles, GmmAae, GmmConfig, Mixture
from voicetone.models.replicas import Draws

MANY = 20_000
MIXTURES = [
    Mixture(2, 1),
    Mixture(4),
    Mixture(3, 2, radius=5.0, radial=1.0, tangential=1.5),
    Mixture(5, 5),
]


def samples(mixture: Mixture) -> list[Doubles]:
    """Many of each component."""
    truth = np.repeat(np.arange(mixture.classes), MANY)
    whole = mixture.sample(truth, (3,))
    return [whole[truth == place] for place in range(mixture.classes)]


def test_four_classes_are_the_cross_of_the_paper() -> None:
    mixture = Mixture(4)
    assert mixture.means == pytest.approx(np.array([[9, 0], [0, 9], [-9, 0], [0, -9]]), abs=1e-9)
    assert mixture.covariances[0] == pytest.approx(np.diag([9, 0.49]))
    assert mixture.covariances[1] == pytest.approx(np.diag([0.49, 9]))


@pytest.mark.parametrize("classes", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [2, 5])
def test_means_are_evenly_spaced_on_a_circle(classes: int, size: int) -> None:
    means = Mixture(classes, size, radius=4.0).means
    assert means.shape == (classes, size)
    assert np.linalg.norm(means, axis=1) == pytest.approx(4)
    assert not means[:, 2:].any()
    angles = np.unwrap(np.arctan2(means[:, 1], means[:, 0]))
    assert np.diff(angles) == pytest.approx(2 * math.pi / classes)


def test_means_on_a_line() -> None:
    assert Mixture(2, 1).means.tolist() == [[9], [-9]]
    assert Mixture(4, 1).means[:, 0] == pytest.approx([9, 3, -3, -9])


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_samples_are_long_along_the_radius_and_narrow_across_it(mixture: Mixture) -> None:
    for found, mean, out in zip(samples(mixture), mixture.means, mixture.directions, strict=True):
        apart = found - mean
        along = apart @ out
        assert along.mean() == pytest.approx(0, abs=0.05 * mixture.radial)
        assert along.std() == pytest.approx(mixture.radial, rel=0.02)
        for across in np.linalg.svd(out[None])[2][1:]:  # every direction across the radius
            assert (apart @ across).mean() == pytest.approx(0, abs=0.05)
            assert (apart @ across).std() == pytest.approx(mixture.tangential, rel=0.02)


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_covariances_are_those_of_the_samples(mixture: Mixture) -> None:
    assert mixture.covariances.shape == (mixture.classes, mixture.size, mixture.size)
    for found, wanted in zip(samples(mixture), mixture.covariances, strict=True):
        assert np.cov(found.T).reshape(wanted.shape) == pytest.approx(
            wanted, abs=0.03 * mixture.radial**2
        )


def test_samples_repeat_and_another_seed_is_another_draw() -> None:
    mixture, truth = Mixture(3), np.arange(30) % 3
    one = mixture.sample(truth, (1, 2))
    assert np.array_equal(one, mixture.sample(truth, (1, 2)))
    assert not np.isclose(one, mixture.sample(truth, (1, 3))).any()


def test_place_puts_normals_where_they_belong() -> None:
    normal = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, -2.0]])
    right = torch.tensor([[9 + 3, 0], [9, 0.7], [9 + 1.5, -1.4]])
    up = torch.tensor([[0.7, 9], [0, 9 + 3], [0.35, 9 - 6.0]])
    both = Mixture(4).place(normal.expand(2, 3, 2), torch.tensor([[0, 0, 0], [1, 1, 1]]))
    assert torch.allclose(both, torch.stack([right, up]), atol=1e-5)
    down = Mixture(4).place(-normal, torch.tensor([3, 3, 3]))
    assert down[:, 1].numpy() == pytest.approx([-9, -9 + -3, -9 + 6], abs=1e-5)
    line = Mixture(2, 1).place(torch.tensor([[1.0], [1.0]]), torch.tensor([0, 1]))
    assert line.tolist() == [[12], [-6]]


def density(x: Doubles, mean: Doubles, covariance: Doubles) -> float:
    """Of a normal distribution, by its formula."""
    apart = x - mean
    power = -0.5 * apart @ np.linalg.solve(covariance, apart)
    return float(np.exp(power) / np.sqrt(np.linalg.det(2 * math.pi * covariance)))


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_posterior_is_bayes(mixture: Mixture) -> None:
    rng = np.random.default_rng(5)
    codes = 4 * rng.standard_normal((40, mixture.size))
    weights = rng.dirichlet(np.ones(mixture.classes))
    parts = list(zip(mixture.means, mixture.covariances, weights, strict=True))
    joint = np.array([[w * density(x, m, c) for m, c, w in parts] for x in codes])
    wanted = joint / joint.sum(1, keepdims=True)
    assert mixture.posterior(codes, weights) == pytest.approx(wanted, abs=1e-9)


def test_posterior_far_away_and_without_a_weight() -> None:
    mixture = Mixture(4)
    far = mixture.posterior(np.array([[1e3, 1.0], [0, -1e3]]), np.full(4, 0.25))
    assert far.argmax(1).tolist() == [0, 3]
    assert far.sum(1) == pytest.approx(1)
    absent = mixture.posterior(mixture.means, np.array([0.5, 0.5, 0.0, 0.0]))
    assert absent[:2].argmax(1).tolist() == [0, 1]
    assert np.isfinite(absent).all()


def test_how_many_classes_a_plane_holds() -> None:
    assert Mixture(4).most == 13
    assert Mixture(4, 5).most == 13
    assert Mixture(4, 1).most == 2
    assert Mixture(4, radius=18.0).most > 13
    assert Mixture(4, tangential=2.0).most < 13
    assert Mixture(4, radial=5.0).most < 13
    assert Mixture(1, tangential=4.0).most == 1
    assert Mixture(1, radius=3.0, radial=3.0).most == 1


@pytest.mark.parametrize(
    ("radius", "radial", "tangential"), [(9, 3, 0.7), (9, 3, 1.0), (5, 1, 0.3), (20, 2, 4.0)]
)
def test_as_many_classes_as_it_holds_stay_apart(
    radius: float, radial: float, tangential: float
) -> None:
    """One radial SD inwards, two tangential SDs from an axis, the next class is no nearer."""

    def apart(classes: int) -> bool:
        mixture = Mixture(classes, 2, radius, radial, tangential)
        inner = (radius - radial) * mixture.directions
        to_border = np.linalg.norm(inner[0] - inner[1]) / 2
        return bool(to_border >= 2 * tangential - 1e-9)

    most = Mixture(2, 2, radius, radial, tangential).most
    assert most >= 2
    assert apart(most)
    assert not apart(most + 1)


def test_too_many_classes_are_told_with_both_numbers() -> None:
    Mixture(13).require_room()
    with pytest.raises(DataError, match=r"^14 classes on a circle of radius 9 .* holds 13 apart"):
        Mixture(14).require_room()
    with pytest.raises(DataError, match=r"2 classes .* SDs of 3 .* and 6 .* holds 1 apart"):
        Mixture(2, tangential=6.0).require_room()
    with pytest.raises(DataError, match=r"3 classes .* holds 2 apart"):
        Mixture(3, 1).require_room()


def _count(net: nn.Module | None) -> int:
    assert net is not None
    return sum(p.numel() for p in net.parameters())


def _dense(*sizes: int) -> int:
    return sum(a * b + b for a, b in itertools.pairwise(sizes))


def test_sizes_are_those_of_the_paper() -> None:
    net = GmmAae(GmmConfig(1582, Mixture(4)), Draws([0]))
    assert _count(net.encoder) == _dense(1582, 1000, 1000, 2)
    assert _count(net.decoder) == _dense(2, 1000, 1000, 1582)
    assert _count(net.discriminator) == _dense(2 + 4 + 1, 1000, 1000, 1)


def normal(*shape: int) -> Tensor:
    """The same numbers in every test."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def small(size: int = 2, classes: int = 3, adversarial: bool = True, replicas: int = 2) -> GmmAae:
    config = GmmConfig(12, Mixture(classes, size), (16, 16), adversarial=adversarial)
    return GmmAae(config, Draws(range(replicas)))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_shapes(size: int) -> None:
    net = small(size)
    x = normal(2, 7, 12)
    codes = net.encode(x)
    assert codes.shape == (2, 7, size)
    assert net.decode(codes).shape == x.shape
    assert net.judge(codes, torch.zeros(2, 7, dtype=torch.long)).shape == (2, 7)


def test_replicas_are_other_networks() -> None:
    x = normal(1, 7, 12).expand(2, 7, 12)
    net = small().eval()
    codes = net.encode(x)
    assert not torch.isclose(codes[0], codes[1]).any()
    alone = GmmAae(net.config, Draws([1])).eval()
    assert torch.allclose(alone.encode(x[1:])[0], codes[1], atol=1e-6)


def test_codes_have_no_bounds_and_no_dropout_when_used() -> None:
    net = small().eval()
    x = normal(2, 7, 12)
    assert torch.equal(net.encode(x), net.encode(x))
    assert float(net.encode(1e4 * x).detach().abs().max()) > 20  # the circle has to be in reach
    net.train()
    assert not torch.equal(net.encode(x), net.encode(x))


def test_the_discriminator_sees_the_class_with_a_place_for_none() -> None:
    net, seen = small(), list[Tensor]()
    assert net.discriminator is not None
    net.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    truth = torch.tensor([[0, 2, -1, 1], [-1, -1, 1, 0]])
    codes = normal(2, 4, 2)
    net.judge(codes, truth)
    assert torch.equal(seen[0][..., :2], codes)
    none = [0.0, 0, 0, 1]
    assert seen[0][..., 2:].tolist() == [
        [[1, 0, 0, 0], [0, 0, 1, 0], none, [0, 1, 0, 0]],
        [none, none, [0, 1, 0, 0], [1, 0, 0, 0]],
    ]


def test_the_discriminators_answer_depends_on_the_class() -> None:
    net, codes = small(), normal(2, 4, 2)
    answers = [net.judge(codes, torch.full((2, 4), k)) for k in (-1, 0, 1, 2)]
    for one, other in itertools.combinations(answers, 2):
        assert not torch.isclose(one, other).any()


def test_a_plain_autoencoder_has_no_discriminator() -> None:
    net = small(adversarial=False)
    assert net.discriminator is None
    assert not any("discriminator" in key for key in net.state_dict())
    x = normal(2, 7, 12)
    assert net.decode(net.encode(x)).shape == x.shape
