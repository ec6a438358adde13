"""Training of autoencoders: replicas, phases, hidden labels, and that they learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.toy_aae import double_precision
from voicetone.evaluation.metrics import uar
from voicetone.models import aae
from voicetone.models.aae import Aae
from voicetone.models.replicas import Draws
from voicetone.training.aae_fit import (
    Outcome,
    Trainer,
    encode,
    fit,
    network_config,
    prior_of,
)
from voicetone.training.aae_recipe import System, Weights
from voicetone.training.replica_data import Job, Scaling, Values, batch
from voicetone.training.replica_fit import Batch, Examples
from voicetone.training.systems_recipe import SystemFeatures

CPU = torch.device("cpu")
COUNT, FEATURES, FRAMES = 72, 6, 16
SYSTEMS = {
    "base": System("base", network="base"),
    "vanilla": System("vanilla"),
    "optimized": System("optimized", preset="optimized"),
}
QUICK: dict[str, Any] = {"epochs": 3, "batch": 8, "rate": 2e-3, "style": 4}
PATHS = [(0, False), (0, True), (FRAMES, True)]
"""Frames of a level, and whether labels are hidden."""


def quick(name: str, **changes: Any) -> System:
    return dataclasses.replace(SYSTEMS[name], **{**QUICK, **changes})


def made(frames: int = 0, classes: Sequence[int] = (3,)) -> Examples:
    """Utterances whose class shows in their features, some of them short."""
    rng = np.random.default_rng(1)
    truth = np.stack([np.arange(COUNT) % count for count in classes], axis=1)
    centres = [3 * rng.standard_normal((count, FEATURES)) for count in classes]
    values = []
    for row in truth:
        centre = sum(c[place] for c, place in zip(centres, row, strict=True))
        shape = (int(rng.integers(5, 25)), FEATURES) if frames else (FEATURES,)
        values.append((centre + rng.standard_normal(shape)).astype(np.float32))
    return Examples(Values(values, frames, CPU), (truth.astype(np.int64),), tuple(classes))


def jobs(unlabelled: bool = False) -> list[Job]:
    """Three replicas: other folds, other numbers of training rows and of tested ones."""
    rows = np.arange(COUNT)
    out = []
    for index, (low, high) in enumerate([(0, 12), (12, 36), (36, 50)]):
        test = rows[low:high]
        validation = rows[high : high + 9 + 3 * index]
        train = np.setdiff1d(rows, np.concatenate([test, validation]))
        hidden = train[index::4] if unlabelled else train[:0]
        known = np.setdiff1d(train, hidden)
        out.append(Job(index, 0, 100 + index, known, hidden, validation, test))
    return out


def trained(data: Examples, which: Sequence[Job], system: System, steps: int = 6) -> list[Outcome]:
    return fit(data, which, scaling(data, which), system, steps)


def scaling(data: Examples, which: Sequence[Job]) -> Scaling:
    return Scaling.of(data.values, which, "global", 10.0, ["s"] * COUNT, ["c"] * COUNT)


def same(one: Outcome, other: Outcome, tolerance: float = 0.0) -> None:
    """Scores, weights, curves and the kept epoch are equal."""
    assert one.epoch == other.epoch
    for a, b in zip(one.scores, other.scores, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= tolerance
    assert one.state.keys() == other.state.keys()
    for key, value in one.state.items():
        assert torch.allclose(value, other.state[key], atol=tolerance, rtol=tolerance), key
    assert one.curves.keys() == other.curves.keys()
    for key, curve in one.curves.items():
        assert curve == pytest.approx(other.curves[key], abs=tolerance or 1e-12), key


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with double_precision(monkeypatch):
        yield


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize(("frames", "unlabelled"), PATHS)
@pytest.mark.usefixtures("double")
def test_replicas_at_once_are_what_they_are_one_at_a_time(
    name: str, frames: int, unlabelled: bool
) -> None:
    data, which = made(frames), jobs(unlabelled)
    data.values.x = data.values.x.double()
    assert len({len(j.training) for j in which}) == 3
    features = SystemFeatures(frames=frames)
    system = quick(name, features=features, noise=0.1, clip=1.0, batch=24, rate=3e-4)
    together = trained(data, which, system, steps=2)
    assert together[0].state["encoder.y.0.0.weight"].dtype == torch.float64
    for job, outcome in zip(which, together, strict=True):
        same(outcome, trained(data, [job], system, steps=2)[0], 1e-4)


@pytest.mark.parametrize("name", ["base", "vanilla"])
@pytest.mark.parametrize("frames", [0, FRAMES])
def test_so_they_are_in_single_precision(name: str, frames: int) -> None:
    """Batch normalisation lets rounding grow over many steps, so "optimized" is tested above."""
    data, which = made(frames), jobs()
    system = quick(name, features=SystemFeatures(frames=frames), batch=24, rate=1e-4)
    for job, outcome in zip(which, trained(data, which, system, steps=2), strict=True):
        same(outcome, trained(data, [job], system, steps=2)[0], 1e-4)


def test_replicas_of_which_only_some_have_unlabelled_rows() -> None:
    data = made()
    which = [jobs()[0], jobs(unlabelled=True)[1]]
    together = trained(data, which, quick("vanilla"))
    for job, outcome in zip(which, together, strict=True):
        same(outcome, trained(data, [job], quick("vanilla"))[0], 1e-4)


@pytest.mark.parametrize("name", ["base", "vanilla"])
def test_replicas_of_which_only_some_validate(name: str) -> None:
    data, (one, two, _) = made(), jobs()
    which = [one, dataclasses.replace(two, validation=two.test[:0])]
    together = trained(data, which, quick(name))
    assert "uar" in together[0].curves
    assert "uar" not in together[1].curves
    assert together[1].epoch == 3  # the last
    for job, outcome in zip(which, together, strict=True):
        same(outcome, trained(data, [job], quick(name))[0], 1e-4)


def test_two_trainings_are_equal_and_another_seed_is_not() -> None:
    data, which = made(), jobs()[:1]
    first = trained(data, which, quick("optimized"))[0]
    same(first, trained(data, which, quick("optimized"))[0])
    other = trained(data, [dataclasses.replace(which[0], draw=7)], quick("optimized"))[0]
    assert not np.allclose(first.scores[0], other.scores[0], atol=1e-4)


def test_a_replica_that_is_no_number_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, which = made(), jobs()
    sound = trained(data, which, quick("optimized"))
    real, calls = aae.classification_loss, [0]

    def spoilt(logits: Tensor, truth: Tensor) -> Tensor:
        calls[0] += 1
        factor = torch.ones(len(logits))
        if calls[0] == 9:  # the second epoch's third step
            factor[1] = float("nan")
        return real(logits, truth) * factor

    monkeypatch.setattr(aae, "classification_loss", spoilt)
    found = trained(data, which, quick("optimized"))
    assert [o.diverged for o in found] == [False, True, False]
    for index in (0, 2):
        same(found[index], sound[index], 1e-6)
    assert found[1].epoch == 1
    assert all(torch.isfinite(v).all() for v in found[1].state.values())
    assert np.isfinite(found[1].scores[0]).all()
    assert np.isnan(found[1].curves["classification"][-1])


def test_hidden_labels_are_never_seen() -> None:
    data, which = made(), jobs(unlabelled=True)
    scrambled = data.truth[0].copy()
    for job in which:  # a label may be hidden from one and known to another: one job at a time
        hidden = scrambled.copy()
        hidden[job.unlabelled] = (hidden[job.unlabelled] + 1) % 3
        hidden[job.test] = (hidden[job.test] + 1) % 3
        other = Examples(data.values, (hidden,), data.classes)
        system = quick("vanilla", true_labels_to_decoder=True, prior="training")
        same(trained(data, [job], system)[0], trained(other, [job], system)[0])
        known = data.truth[0].copy()
        known[job.labelled] = (known[job.labelled] + 1) % 3
        changed = trained(Examples(data.values, (known,), data.classes), [job], system)[0]
        assert not np.allclose(changed.scores[0], trained(data, [job], system)[0].scores[0])


def test_unlabelled_rows_join_reconstruction() -> None:
    data, job = made(), jobs(unlabelled=True)[0]
    with_them = trained(data, [job], quick("vanilla"))[0]
    without = trained(data, [dataclasses.replace(job, unlabelled=job.test[:0])], quick("vanilla"))
    assert not torch.allclose(
        with_them.state["decoder.net.0.layers.0.weight"],
        without[0].state["decoder.net.0.layers.0.weight"],
    )


def _trainer(system: System, data: Examples, which: Sequence[Job]) -> tuple[Aae, Trainer, Batch]:
    draws = Draws([j.draw for j in which])
    net = Aae(network_config(system, data), draws)
    trainer = Trainer(net, system, prior_of(system, data, which), draws)
    rows = torch.from_numpy(np.stack([j.labelled[: system.batch] for j in which]))
    x, mask = batch(data.values, scaling(data, which), rows)
    return net, trainer, Batch(x, mask, torch.from_numpy(data.truth[0])[rows])


def _moved(net: Aae, act: Callable[[], object]) -> set[str]:
    """Which parts' parameters an act changes."""
    before = {k: v.detach().clone() for k, v in net.named_parameters()}
    act()
    changed = {k for k, v in net.named_parameters() if not torch.equal(v, before[k])}
    return {".".join(key.split(".")[: 2 if key.startswith("encoder") else 1]) for key in changed}


ENCODER = {"encoder.body", "encoder.y", "encoder.z"}


def test_each_phase_changes_its_own_parameters_only(monkeypatch: pytest.MonkeyPatch) -> None:
    data, which = made(), jobs()[:2]
    net, trainer, x = _trainer(quick("vanilla"), data, which)
    assert _moved(net, lambda: trainer.reconstruct(x)) == ENCODER | {"decoder"}
    assert _moved(net, lambda: trainer.regularise(x)) == ENCODER | {"discriminators"}
    assert _moved(net, lambda: trainer.classify(x)) == {"encoder.body", "encoder.y"}
    with monkeypatch.context() as patch:
        patch.setattr(trainer.generator, "update", lambda loss: None)
        assert _moved(net, lambda: trainer.regularise(x)) == {"discriminators"}
    with monkeypatch.context() as patch:
        patch.setattr(trainer.discriminators, "update", lambda loss: None)
        assert _moved(net, lambda: trainer.regularise(x)) == ENCODER


def test_weights_of_zero_leave_a_phase_away() -> None:
    data, which = made(), jobs()[:1]

    def phases(**weights: float) -> set[str]:
        _, trainer, x = _trainer(quick("vanilla", weights=Weights(**weights)), data, which)
        return set(trainer.step(x))

    adversarial = {"discriminator_y", "discriminator_z", "generator_y", "generator_z"}
    assert phases() == {"reconstruction", *adversarial, "classification"}
    assert phases(y=0, z=0) == {"reconstruction", "classification"}
    assert phases(reconstruct=0) == {*adversarial, "classification"}
    assert phases(classify=0) == {"reconstruction", *adversarial}


def test_ingredients_of_the_presets() -> None:
    assert SYSTEMS["vanilla"].ingredients == (False, 0.0, 1.0)
    assert SYSTEMS["optimized"].ingredients == (True, 0.5, 0.1)
    mixed = System("x", preset="optimized", batch_norm=False, discriminator_rate=1.0)
    assert mixed.ingredients == (False, 0.5, 1.0)
    _, trainer, _ = _trainer(quick("optimized", rate=1e-3), made(), jobs()[:1])
    rates = [p.optimiser.param_groups[0]["lr"] for p in (trainer.discriminators, trainer.generator)]
    assert rates == pytest.approx([1e-4, 1e-3])


def test_true_labels_to_the_decoder() -> None:
    data, which = made(), jobs()[:1]
    seen: list[Tensor] = []
    for told in (False, True):
        system = quick("vanilla", true_labels_to_decoder=told)
        net, trainer, x = _trainer(system, data, which)
        x.truth[0, :3] = -1
        assert net.decoder is not None
        net.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
        trainer.reconstruct(x)
    y, mixed = seen
    assert torch.equal(y[0, :3], mixed[0, :3])
    assert torch.equal(mixed[0, 3:].argmax(1), x.truth[0, 3:, 0])
    assert set(mixed[0, 3:].unique().tolist()) == {0.0, 1.0}


def _judged(system: System, data: Examples, which: Sequence[Job]) -> list[Tensor]:
    """What the discriminators see in one step, in their order."""
    net, trainer, x = _trainer(system, data, which)
    seen: list[Tensor] = []
    for judge in net.discriminators:
        judge.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    trainer.regularise(x)
    return seen


def test_what_the_discriminators_see() -> None:
    data, which = made(), jobs()[:2]
    prior_y, y, prior_z, z, *_ = _judged(quick("vanilla", batch=36), data, which)
    assert set(prior_y.unique().tolist()) == {0.0, 1.0}
    assert y.sum(2).detach().numpy() == pytest.approx(1, abs=1e-5)
    assert prior_z.shape == z.shape == (2, 36, 4)
    assert float(prior_z.std()) == pytest.approx(1, abs=0.1)
    noisy_y, *_ = _judged(quick("vanilla", batch=36, noise=0.3), data, which)
    away = noisy_y - noisy_y.round().clamp(0, 1)
    assert float(away.std()) == pytest.approx(0.3, abs=0.06)


def test_prior_of_training_frequencies() -> None:
    data = made()
    job = jobs()[0]
    job = dataclasses.replace(job, labelled=job.labelled[data.truth[0][job.labelled, 0] != 2])
    share = prior_of(quick("vanilla", prior="training"), data, [job])
    assert share.tolist() == [[0.5, 0.5, 0.0]]
    assert prior_of(quick("vanilla"), data, [job]).numpy() == pytest.approx(1 / 3)


def test_clip_is_of_each_replica() -> None:
    data, which = made(), jobs()[:2]
    net, trainer, x = _trainer(quick("vanilla", clip=0.5), data, which)

    def norms() -> list[float]:
        grads = [p.grad for p in net.encoder.parameters() if p.grad is not None]
        return [float(sum(g[r].square().sum() for g in grads)) ** 0.5 for r in range(2)]

    trainer.classifier.clip = 0.0
    trainer.classify(x)
    free = norms()
    trainer.classifier.clip = (free[0] + free[1]) / 2
    x.values[0] *= 20 if free[0] > free[1] else 1e-3
    x.values[1] *= 20 if free[1] > free[0] else 1e-3
    trainer.classify(x)
    found = norms()
    high = int(free[1] > free[0])
    assert found[high] == pytest.approx(trainer.classifier.clip, rel=1e-4)
    assert found[1 - high] < trainer.classifier.clip * 0.999


@pytest.mark.parametrize("style", [1, 17])
def test_style_size_is_free(style: int) -> None:
    data, which = made(), jobs()[:1]
    system = quick("optimized", style=style)
    outcome = trained(data, which, system)[0]
    assert outcome.state["encoder.z.0.weight"].shape == (1, 256, style)
    net = Aae(network_config(system, data), Draws([0]))
    net.load_state_dict({k: v for k, v in outcome.state.items() if "." in k}, strict=False)
    _, z = encode(net, data, scaling(data, which), [which[0].test])
    assert z is not None
    assert z[0].shape == (len(which[0].test), style)


def test_one_network_with_a_y_for_each_target() -> None:
    data, which = made(classes=(3, 2)), jobs()
    system = quick("vanilla", epochs=12)
    for job, outcome in zip(which, trained(data, which, system, steps=8), strict=True):
        assert [s.shape for s in outcome.scores] == [(len(job.test), 3), (len(job.test), 2)]
        for place, scores in enumerate(outcome.scores):
            assert scores.sum(1) == pytest.approx(1, abs=1e-5)
            assert uar(data.truth[0][job.test, place], scores.argmax(1)) > 0.8


def test_frames_beyond_the_end_have_no_influence() -> None:
    system = quick("optimized", features=SystemFeatures(frames=FRAMES))
    data, which = made(FRAMES), jobs()[:2]
    sound = trained(data, which, system, steps=2)
    mask = data.values.mask
    assert mask is not None
    assert 0 < float(mask.mean()) < 1
    data.values.x[mask == 0] = 1e3
    for one, other in zip(sound, trained(data, which, system, steps=2), strict=True):
        same(one, other)


def test_of_a_long_utterance_the_middle_is_heard() -> None:
    long = np.arange(40, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    short = long[:3]
    values = Values([long, short], 16, CPU)
    assert values.mask is not None
    assert values.mask.sum(1).tolist() == [16, 3]
    heard = values.x[0, :, 0].numpy() * values.spread[0] + values.shift[0]
    assert heard == pytest.approx(np.arange(12, 28), abs=1e-4)


def test_values_beyond_the_limit_are_cut() -> None:
    data, which = made(), jobs()[:1]
    data.values.x[which[0].test[0]] = 1e6
    rows = torch.from_numpy(which[0].test[None])
    x, _ = batch(data.values, scaling(data, which), rows)
    assert float(x.max()) == 10
    assert float(x[0, 1:].abs().max()) < 10


# What a sound training reaches on this data, and training with one loss broken does not.
EXPECTED = {
    "classifies": lambda o, data, job: uar(data.truth[0][job.test, 0], o.scores[0].argmax(1)) > 0.9,
    "reconstructs": lambda o, data, job: o.curves["validation_reconstruction"][-1] < 0.6,
    "style follows its prior": lambda o, data, job: 0.5 < o.curves["z_sd"][-1] < 1.5,
    "discriminators hardly tell": lambda o, data, job: o.curves["discriminator_z"][-1] > 0.55,
}
LEARNS: dict[str, Any] = {"epochs": 25, "batch": 16, "dropout": 0.0}


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_learns(name: str) -> None:
    data, which = made(), jobs()
    for job, outcome in zip(which, trained(data, which, quick(name, **LEARNS)), strict=True):
        for what, reached in EXPECTED.items():
            if name != "base" or what == "classifies":
                assert reached(outcome, data, job), what


BROKEN: dict[str, tuple[str, Callable[..., Tensor]]] = {
    "classifies": ("classification_loss", lambda logits, truth: logits.sum((1, 2)) * 0),
    "reconstructs": ("reconstruction_loss", lambda x, found, mask=None: found.sum((1, 2)) * 0),
    "style follows its prior": ("generator_loss", lambda codes: codes.sum(1) * 0),
    "discriminators hardly tell": ("generator_loss", lambda codes: codes.sum(1) * 0),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_loss_would_be_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, loss = BROKEN[what]
    monkeypatch.setattr(aae, name, loss)
    data, which = made(), jobs()
    outcomes = trained(data, which, quick("vanilla", **LEARNS))
    reached = [EXPECTED[what](o, data, j) for o, j in zip(outcomes, which, strict=True)]
    assert not any(reached)
