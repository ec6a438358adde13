"""Mistakes in recipes of codes and in their data are named before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training import toy_corpus, toy_gmm
from training.toy_gmm import recipe, system
from voicetone.errors import VoicetoneError
from voicetone.training import gmm_run
from voicetone.training.run import train


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gmm_run, "fit_codes", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr(gmm_run, "read_out", lambda *_: pytest.fail("it trained"))


Spoil = Callable[[Path, Path], str]
BOTH = system("raw", "raw") + system("gmm-aae")
REAL = toy_gmm.SYNTHETIC.format(5, "true")


def _write(corpus: Path, change: Callable[[list[str]], list[str]]) -> str:
    toy_corpus.write(corpus, [tuple(change(r)) for r in toy_corpus.rows(corpus)])
    return BOTH


def _one_class(corpus: Path, _: Path) -> str:
    return _write(corpus, lambda r: [r[0], "anger", *r[2:]])


def _no_label(corpus: Path, _: Path) -> str:
    kept = [(r[0], *r[2:]) for r in toy_corpus.rows(corpus)]
    toy_corpus.write(corpus, kept, ("file", "speaker", "sentence", "sex", "duration_s"))
    return BOTH


def _empty_labels(corpus: Path, _: Path) -> str:
    return _write(corpus, lambda r: [r[0], "", *r[2:]])


def _few_of_a_class(corpus: Path, _: Path) -> str:
    """Nine of those who train in the first fold are sad."""
    left = [r for r in toy_corpus.rows(corpus) if not (r[1] == "sadness" and "-3." in r[0])]
    toy_corpus.write(corpus, [tuple(r) for r in left])
    return BOTH


def _too_many_classes(corpus: Path, _: Path) -> str:
    return BOTH.replace("epochs = 4", "epochs = 4\ntangential = 4.0")


WRONG: dict[str, tuple[Spoil | str, str]] = {
    "more classes than the plane holds": (
        _too_many_classes,
        "^3 classes on a circle of radius 9 overlap: .* holds 1 apart; leave classes out",
    ),
    "more classes than a line holds": (
        system("x", "gmm-aae", "size = [2, 1]"),
        "^3 classes on a line: one dimension holds 2 apart",
    ),
    "few of a class": (
        _few_of_a_class,
        "fold toy s0: 9 training utterances of sadness: fewer than 10 can't be matched",
    ),
    "few labels of a class": (
        system("x", "lda", "labelled = 0.5"),
        "fold toy s0: 12 training utterances of .*, 0.5 of them with labels: fewer than 10",
    ),
    "one class": (_one_class, "one label only, anger"),
    "no label anywhere": (_no_label, "label"),
    "empty labels": (_empty_labels, "label"),
    "nobody validates": (
        BOTH,
        "raw: nobody validates in this protocol, .*: give validation speakers",
    ),
    "samples of a later system": (
        system("real", "raw", REAL) + system("gmm-aae"),
        "real: synthetic.of = 'gmm-aae' has to be an earlier system",
    ),
    "samples of nobody": (
        system("real", "raw", REAL.replace('"gmm-aae"', '"gmm"')),
        "real: synthetic.of = 'gmm' has to be an earlier system",
    ),
    "samples of itself": (
        system("gmm-aae", "gmm-aae", REAL),
        "gmm-aae: synthetic.of = 'gmm-aae' has to be an earlier system",
    ),
    "samples of a plain autoencoder": (
        system("gmm-aae", "autoencoder") + system("real", "raw", REAL),
        'has to be an earlier system with codes = "gmm-aae" and the same features',
    ),
    "samples with other features": (
        system("gmm-aae") + system("real", "raw", REAL, features=', normalise = "corpus"'),
        "and the same features",
    ),
    "samples with codes": (
        system("gmm-aae") + system("real", "pca", REAL),
        'real: synthetic samples are features: take codes = "raw" with them',
    ),
    "frames": (system("x", features=", frames = 32"), "x: codes are of whole utterances; take fr"),
    "too few for a batch": (
        BOTH.replace("batch = 12", "batch = 64"),
        "fold toy s0: 36 training utterances are fewer than a batch of 64; lower batch",
    ),
    "two of one name": (BOTH + BOTH, "systems need names of their own .* not 'gmm-aae'"),
    "unlabelled without corpora": (system("x", "gmm-aae", "unlabelled = true"), "names no"),
    "joint targets": ("joint = true\n" + BOTH, "joint"),
    "no size": (system("x", "gmm-aae", "size = 0"), "size"),
    "no sizes": (system("x", "gmm-aae", "size = []"), "size"),
    "no classifier": (BOTH.replace('[{ name = "linear-svm", C = [0.01, 0.1] }]', "[]"), "readout"),
    "a classifier that is none": (BOTH.replace("linear-svm", "logistic"), "readout"),
    "no samples": (system("gmm-aae") + system("x", "raw", REAL.replace("5", "0")), "per_class"),
    "unknown codes": (system("x", "vae"), "codes"),
    "unknown setting": (system("x", "gmm-aae", "ratee = 1"), "ratee"),
    "more LDA than classes": (BOTH + system("x", "lda", "size = 3"), "x: LDA of 3 classes has 2"),
    "more PCA than features": (BOTH + system("x", "pca", "size = 99"), "x: .* principal"),
    "no samples of the largest class": (
        system("gmm-aae") + system("x", "raw", toy_gmm.SYNTHETIC.format('"balanced"', "false")),
        "x: .*balanced",
    ),
    "samples of who knows more labels": (
        system("gmm-aae") + system("x", "raw", REAL, "labelled = 0.9"),
        "x: gmm-aae has learnt from 1 of the labels, and x from 0.9",
    ),
    "no spread": (system("x", "gmm-aae", "tangential = 0"), "tangential"),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.usefixtures("no_training")
def test_what_is_wrong_is_told_before_any_training(what: str, corpus: Path, tmp_path: Path) -> None:
    spoil, said = WRONG[what]
    text = spoil if isinstance(spoil, str) else spoil(corpus, tmp_path)
    nobody = ['protocol={name="groups", groups=5, validation=0}']
    more = nobody if what == "nobody validates" else []
    with pytest.raises(VoicetoneError, match=said) as caught:
        train(recipe(corpus, tmp_path, text), more)
    assert "\n" not in str(caught.value)
