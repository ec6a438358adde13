"""Normalisation: whose statistics, and that nothing else is looked at."""

from __future__ import annotations

import numpy as np
import pytest

from voicetone.features.normalise import NOTES, normalised, statistics

RNG = np.random.default_rng(0)
SPEAKERS = ["a", "a", "a", "b", "b", "b", "c", "c", "c"]
CORPORA = ["x"] * 6 + ["y"] * 3
TRAIN = np.array([True] * 6 + [False] * 3)


def _values() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(i, 1 + i, 4).astype(np.float32) for i in range(9)]


def _run(values: list[np.ndarray], kind: str) -> list[np.ndarray]:
    return normalised(values, TRAIN, kind, speakers=SPEAKERS, corpora=CORPORA)  # type: ignore[arg-type]


def test_global_takes_the_training_set_only() -> None:
    values = _values()
    found = _run(values, "global")
    assert np.allclose(np.stack(found[:6]).mean(axis=0), 0, atol=1e-5)
    assert np.allclose(np.stack(found[:6]).std(axis=0), 1, atol=1e-5)
    changed = [*values[:8], values[8] * 100]
    assert np.array_equal(_run(changed, "global")[:8], found[:8])


@pytest.mark.parametrize("kind", ["speaker", "corpus"])
def test_groups_of_their_own(kind: str) -> None:
    found = _run(_values(), kind)
    assert np.allclose(np.stack(found[6:]).mean(axis=0), 0, atol=1e-5)
    first = found[:3] if kind == "speaker" else found[:6]
    assert np.allclose(np.stack(first).std(axis=0), 1, atol=1e-4)


def test_a_training_corpus_is_not_shifted_by_its_test_utterances() -> None:
    values = _values()
    train = np.array([True] * 5 + [False] * 4)
    before = normalised(values, train, "corpus", speakers=SPEAKERS, corpora=CORPORA)
    values[5] = values[5] + 1000
    after = normalised(values, train, "corpus", speakers=SPEAKERS, corpora=CORPORA)
    assert np.array_equal(before[:5], after[:5])


def test_frames_count_each() -> None:
    values = [RNG.normal(5, 3, (n, 2)).astype(np.float32) for n in (10, 300, 50)]
    found = normalised(
        values, np.array([True, True, False]), "global", speakers="abc", corpora="xxx"
    )
    both = np.concatenate(found[:2])
    assert np.allclose(both.mean(axis=0), 0, atol=1e-5)
    assert [f.shape for f in found] == [v.shape for v in values]


def test_features_that_never_vary_are_zero() -> None:
    values = [np.array([1e9 / 3, float(i)], dtype=np.float32) for i in range(9)]
    found = np.stack(_run(values, "global"))
    assert (found[:, 0] == 0).all()
    assert np.isfinite(found).all()
    assert statistics([np.ones(3, dtype=np.float32)])[1].tolist() == [1, 1, 1]


def test_as_scikit_learn_does() -> None:
    from sklearn.preprocessing import StandardScaler

    x = RNG.normal(2, 5, (9, 20)).astype(np.float32)
    expected = StandardScaler().fit(x[:6]).transform(x)
    assert np.allclose(np.stack(_run(list(x), "global")), expected, atol=1e-4)


def test_unknown_speakers_are_nobodys_kin() -> None:
    values = _values()[:2]
    found = normalised(values, TRAIN[:2], "speaker", speakers=[None, None], corpora="xx")
    assert all((f == 0).all() for f in found)


def test_what_uses_test_audio_says_so() -> None:
    assert "unlabelled audio of test speakers" in NOTES["speaker"]
    assert "unlabelled" in NOTES["corpus"]
