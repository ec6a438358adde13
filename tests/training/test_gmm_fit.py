"""Training of codes on a mixture: replicas, updates, hidden labels, and where codes end up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from voicetone.evaluation.metrics import uar
from voicetone.models import aae
from voicetone.models.gmm_aae import GmmAae
from voicetone.models.replicas import Draws
from voicetone.training import gmm_fit
from voicetone.training.gmm_fit import (
    Coded,
    GmmTrainer,
    encode,
    fit_codes,
    frequencies,
    reconstruction_errors,
)
from voicetone.training.gmm_match import LIMIT, match
from voicetone.training.gmm_recipe import CodeSystem
from voicetone.training.replica_data import Job, Scaling, Values, batch
from voicetone.training.replica_fit import Batch, Examples

CPU = torch.device("cpu")
COUNT, FEATURES, CLASSES = 72, 12, 3
QUICK: dict[str, Any] = {"hidden": (16, 16), "epochs": 3, "batch": 8, "rate": 1e-3}


def quick(**changes: Any) -> CodeSystem:
    return CodeSystem("gmm", **{**QUICK, **changes})


def made(count: int = COUNT, seed: int = 1) -> Examples:
    """Utterances whose class shows in their features."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % CLASSES
    centres = 3 * np.random.default_rng(1).standard_normal((CLASSES, FEATURES))
    values = centres[truth] + rng.standard_normal((count, FEATURES))
    return Examples(Values(list(values.astype(np.float32)), 0, CPU), (truth[:, None],), (CLASSES,))


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


def scaling(data: Examples, which: Sequence[Job]) -> Scaling:
    nobody = [""] * len(data.truth[0])
    return Scaling.of(data.values, which, "global", 10.0, nobody, nobody)


def trained(
    data: Examples, which: Sequence[Job], system: CodeSystem, steps: int = 4, size: int = 2
) -> list[Coded]:
    return fit_codes(data, which, scaling(data, which), system, size, steps)


def same(one: Coded, other: Coded, tolerance: float = 0.0, curves: bool = True) -> None:
    """Codes, weights, curves and the kept epoch are equal."""
    assert (one.epoch, one.diverged) == (other.epoch, other.diverged)
    assert np.abs(one.codes - other.codes).max() <= tolerance
    assert one.state.keys() == other.state.keys()
    for key, value in one.state.items():
        assert torch.allclose(value, other.state[key], atol=tolerance, rtol=tolerance), key
    assert one.curves.keys() == other.curves.keys()
    for key, curve in one.curves.items() if curves else ():
        assert curve == pytest.approx(other.curves[key], abs=tolerance or 1e-12), key


@pytest.mark.parametrize("unlabelled", [False, True])
@pytest.mark.parametrize("codes", ["gmm-aae", "autoencoder"])
def test_replicas_at_once_are_what_they_are_one_at_a_time(codes: str, unlabelled: bool) -> None:
    data, which = made(), jobs(unlabelled)
    assert len({len(j.training) for j in which}) == 3
    system = quick(codes=codes, noise=0.1, clip=1.0, rate=3e-4, discriminator_rate=0.5)
    together = trained(data, which, system)
    for job, found in zip(which, together, strict=True):
        same(found, trained(data, [job], system)[0], 1e-4)
    assert np.abs(together[0].codes - together[1].codes).max() > 0.01


def test_replicas_of_which_only_some_have_unlabelled_rows() -> None:
    data, which = made(), [jobs()[0], jobs(unlabelled=True)[1]]
    together = trained(data, which, quick(rate=3e-4))
    for job, found in zip(which, together, strict=True):
        same(found, trained(data, [job], quick(rate=3e-4))[0], 1e-4)


def test_replicas_of_which_only_some_validate() -> None:
    data, (one, two, _) = made(), jobs()
    which = [one, dataclasses.replace(two, validation=two.test[:0])]
    together = trained(data, which, quick(rate=3e-4))
    assert "posterior_uar" in together[0].curves
    assert "validation_reconstruction" not in together[1].curves
    for job, found in zip(which, together, strict=True):
        same(found, trained(data, [job], quick(rate=3e-4))[0], 1e-4)


def test_two_trainings_are_equal_and_another_seed_is_not() -> None:
    data, which = made(), jobs(unlabelled=True)[:1]
    first = trained(data, which, quick(noise=0.2))[0]
    same(first, trained(data, which, quick(noise=0.2))[0])
    other = trained(data, [dataclasses.replace(which[0], draw=7)], quick(noise=0.2))[0]
    assert not np.allclose(first.codes, other.codes, atol=1e-3)


@pytest.mark.parametrize("loss", ["reconstruction_loss", "discriminator_loss", "generator_loss"])
def test_a_replica_that_is_no_number_leaves_the_others_alone(
    loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, which = made(), jobs()
    sound = trained(data, which, quick())
    real, calls = getattr(aae, loss), [0]

    def spoilt(*given: Tensor) -> Tensor:
        calls[0] += 1
        factor = torch.ones(len(given[0]))
        if calls[0] == 6:  # the second epoch's second step
            factor[1] = float("nan")
        return torch.as_tensor(real(*given) * factor)

    monkeypatch.setattr(aae, loss, spoilt)
    found = trained(data, which, quick())
    assert [o.diverged for o in found] == [False, True, False]
    for index in (0, 2):
        same(found[index], sound[index], 1e-6)
    assert found[1].epoch == 1
    assert all(torch.isfinite(v).all() for v in found[1].state.values())
    assert np.isfinite(found[1].codes).all()


def test_the_last_epoch_is_kept_and_its_weights_give_the_codes() -> None:
    data, which = made(), jobs()[:2]
    system = quick(epochs=5)
    for job, found in zip(which, trained(data, which, system), strict=True):
        assert found.epoch == 5
        net = GmmAae(system.config(FEATURES, CLASSES, 2), Draws([0]))
        weights = {k: v for k, v in found.state.items() if "." in k}
        lacking, unknown = net.load_state_dict(weights, strict=False)
        assert not unknown
        assert all(key.startswith("discriminator") for key in lacking)
        every = [np.arange(COUNT)]
        own = scaling(data, [job])
        assert encode(net, data, own, every)[0] == pytest.approx(found.codes, abs=1e-5)
        error = reconstruction_errors(net, data, own, [job.validation])[0]
        assert error == pytest.approx(found.curves["validation_reconstruction"][-1], abs=1e-5)
        raw = data.values.x.numpy() * data.values.spread + data.values.shift
        x = (torch.from_numpy(raw) - found.state["mean"]) / found.state["scale"]
        with torch.no_grad():
            codes = net.encode(x.float().clamp(-10, 10)[None])[0]
        assert codes.numpy() == pytest.approx(found.codes, abs=1e-4)


def test_curves_and_snapshots() -> None:
    data, which = made(), jobs()[:2]
    first, second = trained(data, which, quick(epochs=60), steps=1)
    losses = {"reconstruction", "discriminator", "generator"}
    assert first.curves.keys() == {
        *losses, "validation_reconstruction", "distance", "posterior_uar",
    }  # fmt: skip
    assert {len(v) for v in first.curves.values()} == {60}
    held = first.codes[which[0].validation]
    assert first.curves["distance"][-1] == pytest.approx(np.linalg.norm(held, axis=1).mean())
    assert not second.snapshots
    epochs = [epoch for epoch, _ in first.snapshots]
    assert len(epochs) == gmm_fit.SNAPSHOTS
    assert epochs == sorted(set(epochs))
    assert (epochs[0], epochs[-1]) == (1, 60)
    assert np.array_equal(first.snapshots[-1][1], first.codes)
    assert not np.allclose(first.snapshots[0][1], first.codes, atol=0.01)


def test_a_plain_autoencoder_has_neither_mixture_nor_snapshots() -> None:
    (found,) = trained(made(), jobs()[:1], quick(codes="autoencoder"), size=5)
    assert found.codes.shape == (COUNT, 5)
    assert found.curves.keys() == {"reconstruction", "validation_reconstruction"}
    assert not found.snapshots
    assert not any(key.startswith("discriminator") for key in found.state)


def test_progress_is_told() -> None:
    data, which, told = made(), jobs()[:1], list[tuple[int, int]]()
    own = scaling(data, which)
    fit_codes(data, which, own, quick(), 2, 2, lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("index", range(3))
def test_hidden_labels_are_never_seen(index: int) -> None:
    data, job = made(), jobs(unlabelled=True)[index]
    first = trained(data, [job], quick())[0]

    def scrambled(rows: np.ndarray) -> Coded:
        truth = data.truth[0].copy()
        truth[rows] = (truth[rows] + 1) % CLASSES
        return trained(Examples(data.values, (truth,), data.classes), [job], quick())[0]

    same(first, scrambled(np.concatenate([job.unlabelled, job.test])))
    same(first, scrambled(job.validation), curves=False)  # they only watch
    assert not np.allclose(first.codes, scrambled(job.labelled).codes, atol=1e-3)


@pytest.mark.parametrize("codes", ["gmm-aae", "autoencoder"])
def test_unlabelled_rows_join(codes: str) -> None:
    data, job = made(), jobs(unlabelled=True)[0]
    own = scaling(data, [job])
    with_them = fit_codes(data, [job], own, quick(codes=codes), 2, 4)[0]
    alone = dataclasses.replace(job, unlabelled=job.test[:0])
    without = fit_codes(data, [alone], own, quick(codes=codes), 2, 4)[0]
    assert not np.allclose(with_them.codes, without.codes, atol=1e-3)


def test_frequencies_are_those_of_labelled_training_rows() -> None:
    data, (one, two, _) = made(), jobs(unlabelled=True)
    few = one.labelled[data.truth[0][one.labelled, 0] != 2]
    found = frequencies(data, [dataclasses.replace(one, labelled=few), two])
    assert found[0, 2] == 0
    wanted = [float((data.truth[0][two.labelled, 0] == k).mean()) for k in range(CLASSES)]
    assert found[1] == pytest.approx(wanted)


def _trainer(
    system: CodeSystem, which: Sequence[Job], shares: Sequence[Sequence[float]] | None = None
) -> tuple[GmmAae, GmmTrainer, Batch]:
    data, draws = made(), Draws([j.draw for j in which])
    net = GmmAae(system.config(FEATURES, CLASSES, 2), draws)
    weights = torch.tensor(shares) if shares else torch.full((len(which), CLASSES), 1 / CLASSES)
    rows = torch.from_numpy(np.stack([j.labelled[: system.batch] for j in which]))
    x, mask = batch(data.values, scaling(data, which), rows)
    truth = torch.from_numpy(data.truth[0])[rows]
    return net, GmmTrainer(net, system, weights, draws), Batch(x, mask, truth)


def test_the_prior_of_a_class_is_its_component() -> None:
    _, trainer, _ = _trainer(quick(), jobs()[:2])
    truth = torch.tensor([[0] * 3000, [2] * 3000])
    prior = trainer.prior(truth)
    assert prior.shape == (2, 3000, 2)
    mixture = trainer.net.config.mixture
    for row, place in zip(prior.double().numpy(), (0, 2), strict=True):
        assert row.mean(0) == pytest.approx(mixture.means[place], abs=0.2)
        assert np.cov(row.T) == pytest.approx(mixture.covariances[place], abs=0.6)


def test_the_prior_without_a_label_has_the_training_frequencies() -> None:
    shares = [[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]]
    _, trainer, _ = _trainer(quick(), jobs()[:2], shares)
    prior = trainer.prior(torch.full((2, 4000), -1)).double().numpy()
    for row, wanted in zip(prior, shares, strict=True):
        likely = trainer.net.config.mixture.posterior(row, np.full(CLASSES, 1 / 3)).argmax(1)
        found = np.bincount(likely, minlength=CLASSES) / len(likely)
        assert found == pytest.approx(wanted, abs=0.03)


def test_labelled_and_unlabelled_rows_of_one_batch() -> None:
    _, trainer, _ = _trainer(quick(), jobs()[:1], [[0.0, 0.0, 1.0]])
    truth = torch.tensor([[0, -1] * 500])
    prior = trainer.prior(truth)[0].double().numpy()
    likely = trainer.net.config.mixture.posterior(prior, np.full(CLASSES, 1 / 3)).argmax(1)
    assert (likely[::2] == 0).mean() > 0.98
    assert (likely[1::2] == 2).mean() > 0.98


def _moved(net: GmmAae, act: Callable[[], object]) -> set[str]:
    """Which parts' parameters an act changes."""
    before = {k: v.detach().clone() for k, v in net.named_parameters()}
    act()
    changed = {k for k, v in net.named_parameters() if not torch.equal(v, before[k])}
    return {key.split(".")[0] for key in changed}


def test_each_update_changes_its_own_parameters_only(monkeypatch: pytest.MonkeyPatch) -> None:
    net, trainer, x = _trainer(quick(), jobs()[:2])
    assert _moved(net, lambda: trainer.reconstruct(x)) == {"encoder", "decoder"}
    assert _moved(net, lambda: trainer.regularise(x)) == {"encoder", "discriminator"}
    with monkeypatch.context() as patch:
        patch.setattr(trainer.generator, "update", lambda loss: None)
        assert _moved(net, lambda: trainer.regularise(x)) == {"discriminator"}
    with monkeypatch.context() as patch:
        patch.setattr(trainer.discriminator, "update", lambda loss: None)
        assert _moved(net, lambda: trainer.regularise(x)) == {"encoder"}
    assert trainer.step(x).keys() == {"reconstruction", "discriminator", "generator"}
    plain, learns, x = _trainer(quick(codes="autoencoder"), jobs()[:2])
    assert _moved(plain, lambda: learns.step(x)) == {"encoder", "decoder"}
    assert learns.step(x).keys() == {"reconstruction"}


def test_rates() -> None:
    _, trainer, _ = _trainer(quick(rate=1e-3, discriminator_rate=0.25), jobs()[:1])
    phases = (trainer.autoencoder, trainer.discriminator, trainer.generator)
    rates = [p.optimiser.param_groups[0]["lr"] for p in phases]
    assert rates == pytest.approx([1e-3, 2.5e-4, 1e-3])


def test_what_the_discriminator_sees() -> None:
    """As many samples as codes, with the same classes; noise on both."""

    def judged(noise: float) -> list[Tensor]:
        net, trainer, x = _trainer(quick(noise=noise), jobs()[:2])
        net.eval()  # without dropout, so that the codes of both are the same
        seen: list[Tensor] = []
        assert net.discriminator is not None
        net.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
        trainer.regularise(x)
        return [net.encode(x.values).detach(), *seen]

    _, prior, codes, fooling = judged(0.0)
    assert prior.shape == codes.shape == fooling.shape == (2, 8, 2 + CLASSES + 1)
    assert torch.equal(prior[..., 2:], codes[..., 2:])
    assert torch.equal(codes, fooling)
    _, noisy_prior, noisy, again = judged(0.5)
    assert 0.3 < float((noisy - codes)[..., :2].std()) < 0.7
    assert 0.3 < float((noisy_prior - prior)[..., :2].std()) < 0.7
    assert not torch.equal(noisy[..., :2], again[..., :2])
    assert torch.equal(noisy[..., 2:], codes[..., 2:])


# What a sound training reaches on easy data, and training with one loss broken does not.
MANY = 480
EASY = CodeSystem(
    "gmm", hidden=(16, 16), epochs=130, batch=64, rate=5e-3, dropout=0.0, noise=0.5,
    discriminator_rate=0.5,
)  # fmt: skip


def easy() -> tuple[Examples, list[Job]]:
    """A third of the rows is held out; three seeds."""
    rows = np.arange(MANY)
    held = rows[: MANY // 3]
    job = Job(0, 0, 5, rows[MANY // 3 :], rows[:0], held[:60], held[60:])
    return made(MANY), [dataclasses.replace(job, draw=draw) for draw in (5, 8, 9)]


def _settled(found: Coded) -> bool:
    last = {name: float(np.mean(curve[-20:])) for name, curve in found.curves.items()}
    far = [abs(last[name] - aae.CHANCE) for name in ("discriminator", "generator")]
    return far[0] < 0.1 and far[1] < 0.25


def _classes(found: Coded, data: Examples, job: Job) -> float:
    """UAR of the likeliest component."""
    codes = found.codes[job.test].astype(np.float64)
    mixture = EASY.config(FEATURES, CLASSES, 2).mixture
    likely = mixture.posterior(codes, np.full(CLASSES, 1 / CLASSES)).argmax(1)
    return uar(data.truth[0][job.test, 0], likely)


def _auc(found: Coded, data: Examples, job: Job) -> float:
    """Of telling codes of strangers from samples of the mixture."""
    codes = found.codes[job.test].astype(np.float64)
    mixture = EASY.config(FEATURES, CLASSES, 2).mixture
    return match(codes, data.truth[0][job.test, 0], ["a", "b", "c"], mixture, 0).auc


def test_codes_of_strangers_follow_the_mixture() -> None:
    data, which = easy()
    each = list(zip(trained(data, which, EASY, steps=10), which, strict=True))
    for found, job in each:
        assert _settled(found)
        assert _classes(found, data, job) > 0.9
        assert found.curves["posterior_uar"][-1] > 0.9
        assert found.curves["validation_reconstruction"][-1] < 0.5
    assert np.mean([_auc(found, data, job) for found, job in each]) < LIMIT


def test_without_the_encoders_third_update_they_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aae, "generator_loss", lambda codes: codes.sum(1) * 0)
    data, (job, *_) = easy()
    (found,) = trained(data, [job], dataclasses.replace(EASY, epochs=30), steps=10)
    assert not _settled(found)
    assert _classes(found, data, job) < 0.9
    assert _auc(found, data, job) > LIMIT


def test_without_the_first_nothing_is_reconstructed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aae, "reconstruction_loss", lambda x, found: found.sum((1, 2)) * 0)
    data, (job, *_) = easy()
    (found,) = trained(data, [job], dataclasses.replace(EASY, epochs=20), steps=10)
    assert found.curves["validation_reconstruction"][-1] > 0.9
