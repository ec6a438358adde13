"""Fold tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.training.protocol import (
    Fold,
    FoldTable,
    check_disjoint,
    leave_one_speaker_out,
    merge,
    speaker_groups,
)
from voicetone.types import Utterance


def _manifest(corpus: str, speakers: int, each: int = 3) -> Manifest:
    utterances = [
        Utterance(f"{corpus}/{s:02d}-{i}", Path("x.wav"), corpus, speaker=f"{corpus}/{s:02d}")
        for s in range(1, speakers + 1)
        for i in range(each)
    ]
    return Manifest(corpus, "1", "CC0", "nobody", tuple(utterances))


def _speakers(keys: tuple[str, ...]) -> set[str]:
    return {key.rsplit("-", 1)[0] for key in keys}


def test_leave_one_speaker_out_tests_each_once() -> None:
    manifest = _manifest("a", 5)
    table = leave_one_speaker_out(manifest)
    assert [_speakers(f.test) for f in table.folds] == [{s} for s in manifest.speakers]
    assert _speakers(table.folds[4].validation) == {"a/01"}
    assert sorted(k for f in table.folds for k in f.test) == sorted(u.id for u in manifest)


def test_four_groups_of_four() -> None:
    table = speaker_groups(_manifest("ravdess", 16), 4, 2)
    first = table.folds[0]
    assert _speakers(first.test) == {f"ravdess/{i:02d}" for i in (1, 2, 3, 4)}
    assert _speakers(first.validation) == {"ravdess/05", "ravdess/06"}
    assert len(_speakers(first.train)) == 10
    assert _speakers(table.folds[3].validation) == {"ravdess/01", "ravdess/02"}


def test_merged_folds_train_on_corpora_without_a_fold() -> None:
    a, b = _manifest("a", 2 * 4), _manifest("b", 3)
    everyone = [*a, *b]
    table = merge([speaker_groups(a, 4, 2), speaker_groups(b, 3, 0)], everyone)
    assert len(table.folds) == 4
    assert "b/01" in _speakers(table.folds[0].test)
    assert {"b/01", "b/02", "b/03"} <= _speakers(table.folds[3].train)
    for fold in table.folds:
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(everyone)


def test_the_hash_follows_the_table() -> None:
    table = speaker_groups(_manifest("a", 6), 3, 1)
    assert table.hash == speaker_groups(_manifest("a", 6), 3, 1).hash
    assert table.hash != speaker_groups(_manifest("a", 6), 2, 1).hash


def test_a_leak_is_named() -> None:
    manifest = _manifest("a", 3)
    table = leave_one_speaker_out(manifest)
    fold = table.folds[0]
    leaky = replace(fold, train=(*fold.train, fold.test[0]))
    with pytest.raises(DataError, match=r"speaker a/01 leaks from train to test .*a/01-0"):
        check_disjoint(FoldTable("x", (leaky,)), manifest.utterances)


def test_unknown_and_twice_tested_ids_are_named() -> None:
    manifest = _manifest("a", 3)
    with pytest.raises(DataError, match="no utterance a/99"):
        check_disjoint(FoldTable("x", (Fold("f", ("a/99",), (), ()),)), manifest.utterances)
    fold = leave_one_speaker_out(manifest).folds[0]
    with pytest.raises(DataError, match="tested by folds"):
        check_disjoint(FoldTable("x", (fold, fold)), manifest.utterances)


def test_too_few_speakers() -> None:
    with pytest.raises(DataError, match="3 speakers can't make 3 folds with 2"):
        speaker_groups(_manifest("a", 3), 3, 2)
    leave = replace(_manifest("a", 3).utterances[0], speaker=None)
    with pytest.raises(DataError, match="no speaker"):
        leave_one_speaker_out(Manifest("a", "1", "x", "x", (leave,)))
