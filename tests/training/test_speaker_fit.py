"""One training: what is hidden, what context is, and what decides which epoch is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from voicetone.errors import DataError
from voicetone.training.replica_data import Job
from voicetone.training.speaker_checkpoint import read_speaker_checkpoint
from voicetone.training.speaker_curve import Point, normalisation
from voicetone.training.speaker_fit import Frames, Trial, fit, masked, recall
from voicetone.training.speaker_recipe import SpeakerChoice, SpeakerRecipe, SpeakerSystem
from voicetone.training.speaker_run import baseline_of, before
from voicetone.training.speaker_voices import Knowledge, shuffled
from voicetone.training.systems_recipe import SystemFeatures
from voicetone.types import Utterance

NONE = np.zeros(0, dtype=np.int64)
SMALL = SpeakerSystem(
    "small", width=8, heads=2, layers=1, subsample=2, epochs=3, batch=8, rate=1e-2, dropout=0.0
)


def trial(system: SpeakerSystem, *, validation: int = 8, size: int = 4) -> Trial:
    """24 utterances train, 8 test; classes 0 and 1 alternate."""
    total = 32 + validation
    rows = np.arange(total)
    job = Job(0, 0, 5, rows[:24], NONE, rows[32:], rows[24:32])
    rng = np.random.default_rng(3)
    known = Knowledge(
        rng.standard_normal((total, size)).astype(np.float32),
        np.ones(total, dtype=np.float32),
        np.ones(total, dtype=np.float32),
    )
    utterances = [Utterance(str(i), Path("a"), "c", session=f"d{i // 4}") for i in range(total)]
    return Trial(
        system,
        system.config(5, "emotion", 2, size, 3),
        job,
        steps=3,
        place=rows,
        group=np.zeros(total, dtype=np.int64),
        mean=np.zeros((1, 5), dtype=np.float32),
        scale=np.ones((1, 5), dtype=np.float32),
        limit=10.0,
        truth=rows % 2,
        speakers=np.where(rows < 24, rows % 3, -1),
        before=before(utterances, job, system.context),
        knowledge=known,
        curve=(
            Point(0.0, 0.0, Knowledge.nothing(8, size)),
            Point(2.0, 1.0, known.of(job.test)),
        ),
    )


def frames(count: int = 40) -> Frames:
    x = np.random.default_rng(2).standard_normal((count, 12, 5)).astype(np.float32)
    x[1::2] += 1.0
    mask = np.ones((count, 12), dtype=np.float32)
    mask[::3, 8:] = 0
    return Frames(x, mask)


def test_the_same_trial_gives_the_same_and_leaves_other_draws_alone() -> None:
    one = trial(replace(SMALL, integration="addition", dropout=0.1))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second = (fit(frames(), one, lambda: None) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert first.scores is not None
    assert np.array_equal(first.scores, second.scores)  # type: ignore[arg-type]
    other = fit(frames(), replace(one, job=replace(one.job, draw=6)), lambda: None)
    assert not np.allclose(first.scores, other.scores)  # type: ignore[arg-type]


def test_the_curve_changes_the_test_only() -> None:
    found = fit(frames(), trial(replace(SMALL, integration="addition")), lambda: None)
    assert found.scores is not None
    assert not np.allclose(found.further[0], found.scores)
    assert np.array_equal(found.further[1], found.scores)


def test_normalisation_from_seconds() -> None:
    rng = np.random.default_rng(4)
    values = [(i + rng.standard_normal((20, 2))).astype(np.float32) for i in range(7)]
    speakers = ["t", "t", "a", "a", "a", "b", None]
    job = Job(0, 0, 0, np.array([0, 1]), NONE, NONE, np.arange(2, 7))
    both = np.concatenate(values[:2])
    mean, scale, heard = normalisation(values, speakers, job, 0.0, 0.1)
    assert heard == 0
    assert mean == pytest.approx(np.tile(both.mean(0), (5, 1)), abs=1e-5)
    assert scale == pytest.approx(np.tile(both.std(0), (5, 1)), abs=1e-5)
    mean, scale, heard = normalisation(values, speakers, job, 4.0, 0.1)
    others = np.concatenate([values[3], values[4]])
    assert mean[0] == pytest.approx(others.mean(0), abs=1e-5)
    assert scale[0] == pytest.approx(others.std(0), abs=1e-5)
    assert mean[3:] == pytest.approx(np.tile(both.mean(0), (2, 1)), abs=1e-5)
    assert heard == pytest.approx(4.0)
    once = normalisation(values, speakers, job, 0.5, 0.1)
    assert once[2] == pytest.approx(2.0)  # whole clips, one at least
    assert np.array_equal(once[0], normalisation(values, speakers, job, 0.5, 0.1)[0])


def test_the_curve_of_features_normalised_per_speaker() -> None:
    one = trial(SMALL)
    same = Knowledge.nothing(8, 4)
    flat, wide = (np.full((8, 5), value, dtype=np.float32) for value in (0.0, 1.0))
    curve = (Point(1.0, 1.0, same, flat, wide), Point(2.0, 2.0, same, flat + 2, 3 * wide))
    found = fit(frames(), replace(one, curve=curve), lambda: None)
    assert found.scores is not None
    assert np.array_equal(found.further[0], found.scores)
    assert not np.allclose(found.further[1], found.scores)


def test_the_best_epoch_on_validation_is_kept_else_the_last() -> None:
    steps = [0]

    def step() -> None:
        steps[0] += 1

    found = fit(frames(), trial(SMALL), step)
    assert steps == [9]
    uar, loss = found.curves["uar"], found.curves["validation_loss"]
    best = max(zip(uar, [-v for v in loss], strict=True))
    assert (uar[found.epoch - 1], -loss[found.epoch - 1]) == best
    alone = fit(frames(32), trial(SMALL, validation=0), lambda: None)
    assert alone.epoch == 3
    assert "uar" not in alone.curves


@pytest.mark.parametrize("loss", ["weighted", "focal"])
def test_losses_learn(loss: str) -> None:
    system = replace(SMALL, loss=loss, epochs=12, smoothing=0.1)
    found = fit(frames(), trial(system), lambda: None)
    assert found.curves["loss"][-1] < 0.8 * found.curves["loss"][0]


def test_no_number_ends_a_training_with_the_weights_before() -> None:
    one = trial(SMALL)
    found = fit(Frames(np.full_like(frames().x, np.nan), frames().mask), one, lambda: None)
    assert found.diverged
    assert found.epoch == 0
    assert found.scores is None
    assert all(np.isfinite(value).all() for value in found.state.values())


def test_context_is_heard() -> None:
    one = trial(replace(SMALL, context=2))
    rows = one.before
    assert rows[0].tolist() == [-1, -1]
    assert rows[1].tolist() == [-1, 0]
    assert rows[3].tolist() == [1, 2]
    assert rows[4].tolist() == [-1, -1]
    with_context = fit(frames(), one, lambda: None)
    without = fit(frames(), replace(one, before=np.full_like(rows, -1)), lambda: None)
    assert with_context.scores is not None
    assert not np.allclose(with_context.scores, without.scores)  # type: ignore[arg-type]


def test_context_stays_on_its_side() -> None:
    utterances = [Utterance(str(i), Path("a"), "c", session="d") for i in range(4)]
    job = Job(0, 0, 0, np.array([0, 2]), NONE, np.array([1]), np.array([3]))
    assert before(utterances, job, 1)[:, 0].tolist() == [-1, -1, 0, 1]
    strangers = Job(0, 0, 0, np.array([0, 2]), NONE, NONE, np.array([3]))
    assert before(utterances, strangers, 1)[:, 0].tolist() == [-1, -1, 0, -1]


def test_masks_hide_an_eighth_at_most() -> None:
    x = torch.ones(50, 40, 16)
    mask = torch.ones(50, 40)
    mask[:, 24:] = 0
    out = masked(x, mask, 1, torch.Generator().manual_seed(0))
    times, bands = (out == 0).all(2).sum(1), (out == 0).all(1).sum(1)
    assert 0 < int(times.max()) <= 4
    assert not (out == 0).all(2)[:, 27:].any()
    assert 0 < int(bands.max()) <= 3
    assert torch.equal(masked(x, mask, 0, torch.Generator()), x)


def test_shuffled_needs_other_speakers() -> None:
    own = trial(SMALL).knowledge
    job = Job(0, 0, 0, np.arange(4), NONE, NONE, np.arange(4, 6))
    names = ["a", "a", "b", "b", "c", "c"]
    found = shuffled(own, names, job)
    assert np.array_equal(shuffled(own, names, job).embedding, found.embedding)
    with pytest.raises(DataError, match="a speaker other than 'a'"):
        shuffled(own, ["a"] * 4 + ["c"] * 2, job)


def test_recall_is_unweighted() -> None:
    assert recall(np.array([0, 0, 0, 2]), np.array([0, 0, 1, 2])) == pytest.approx((2 / 3 + 1) / 2)


def test_the_baseline_hears_the_same_and_knows_nobody() -> None:
    none = replace(SMALL, name="none")
    z_norm = replace(none, name="z", features=replace(none.features, normalise="speaker"))
    prefix = replace(SMALL, name="prefix", integration="prefix")
    other = replace(prefix, name="other", features=SystemFeatures("mfcc", frames=9))
    recipe = SpeakerRecipe(
        kind="speaker-aware",
        name="r",
        corpora=(),
        protocol={"name": "speakers"},  # type: ignore[arg-type]
        systems=(none, z_norm, prefix, other),
    )
    assert [baseline_of(recipe, s) for s in recipe.systems] == [None, none, none, None]


def test_what_decides() -> None:
    choice = SpeakerChoice(encoder="dvector")
    assert choice.decisive()["encoder"].startswith("dvector-")
    assert SpeakerChoice(enrolment=5).decisive() != SpeakerChoice().decisive()


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no weights of a speaker-aware transformer"):
        read_speaker_checkpoint(tmp_path / "x.safetensors")
