"""Fold tables."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.training.protocol import (
    Fold,
    FoldTable,
    across,
    check_disjoint,
    leave_one_session_out,
    leave_one_speaker_out,
    merge,
    official,
    read_folds,
    speaker_dependent,
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
    a, b, c = _manifest("a", 2 * 4), _manifest("b", 3), _manifest("c", 2)
    everyone = [*a, *b, *c]
    table = merge([speaker_groups(a, 4, 2), speaker_groups(b, 3, 0)], everyone, c.utterances)
    assert len(table.folds) == 4
    assert "b/01" in _speakers(table.folds[0].test)
    assert {"b/01", "b/02", "b/03"} <= _speakers(table.folds[3].train)
    for fold in table.folds:
        assert {"c/01", "c/02"} <= _speakers(fold.train)
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(everyone)


def test_merged_partitions_train_on_what_each_table_names() -> None:
    first, second = _partitioned(), _manifest("b", 3)
    named = [
        replace(u, partition=part)
        for part, s in (("train", "01"), ("test1", "02"), ("other", "03"))
        for u in second
        if u.speaker == f"b/{s}"
    ]
    second = replace(second, utterances=tuple(named))
    tables = [official(m, ("test1",)) for m in (first, second)]
    (fold,) = merge(tables, [*first, *second]).folds
    assert set(fold.train) == {*tables[0].folds[0].train, *tables[1].folds[0].train}
    assert "m/6" not in fold.train  # of Test2, which was not asked for
    assert "b/03" not in _speakers(fold.train)


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


def _sessions(sessions: int = 5, speakers: int = 2) -> Manifest:
    utterances = [
        Utterance(
            f"i/{s}{p}-{i}",
            Path("x.wav"),
            "i",
            speaker=f"i/{s}{p}",
            session=f"Ses{s}",
            sentence=f"line {i}",
        )
        for s in range(1, sessions + 1)
        for p in "FMX"[:speakers]
        for i in range(3)
    ]
    return Manifest("i", "1", "x", "x", tuple(utterances))


def test_ten_folds_of_five_sessions_with_swapped_speakers() -> None:
    table = leave_one_session_out(_sessions())
    assert len(table.folds) == 10
    first, second = table.folds[:2]
    assert (_speakers(first.test), _speakers(first.validation)) == ({"i/1F"}, {"i/1M"})
    assert (_speakers(second.test), _speakers(second.validation)) == ({"i/1M"}, {"i/1F"})
    assert len(_speakers(first.train)) == 8
    assert first.train == second.train
    assert len({k for f in table.folds for k in f.test}) == 30


def test_whole_sessions() -> None:
    table = leave_one_session_out(_sessions(), mutual=False)
    assert len(table.folds) == 5
    assert _speakers(table.folds[4].validation) == {"i/1F", "i/1M"}
    assert len(_speakers(table.folds[0].train)) == 6


def test_sessions_that_cannot_be() -> None:
    with pytest.raises(DataError, match="has one speaker"):
        leave_one_session_out(_sessions(speakers=1))
    with pytest.raises(DataError, match="sessions are too few"):
        leave_one_session_out(_sessions(1))
    with pytest.raises(DataError, match="no session or no speaker"):
        leave_one_session_out(_manifest("a", 3))


def _partitioned() -> Manifest:
    rows: list[tuple[str | None, str]] = [
        ("s1", "Train"),
        ("s2", "Train"),
        ("s3", "Development"),
        ("s4", "Test1"),
        (None, "Test1"),
        (None, "Train"),
        ("s5", "Test2"),
    ]
    utterances = [
        Utterance(f"m/{i}", Path("x.wav"), "m", speaker=speaker, partition=part)
        for i, (speaker, part) in enumerate(rows)
    ]
    return Manifest("m", "1", "x", "x", tuple(utterances))


def test_official_partitions() -> None:
    table = official(_partitioned(), ("test1",))
    (fold,) = table.folds
    assert fold.train == ("m/0", "m/1", "m/5")
    assert fold.validation == ("m/2",)
    assert fold.test == ("m/3", "m/4")
    assert "2 utterances of unknown speakers" in table.protocol
    with pytest.raises(DataError, match="no partition test; there are: Development, Test1"):
        official(_partitioned())


def test_partitions_that_are_not_there_are_named() -> None:
    with pytest.raises(DataError, match="no partition test9; there are: Development, Test1"):
        official(_partitioned(), ("test1", "test9"))
    with pytest.raises(DataError, match="no partition devel; there are: Development"):
        official(_partitioned(), ("test1",), validation=("devel",))
    assert official(_partitioned(), ("test1",), validation=()).folds[0].validation == ()
    none = replace(_manifest("a", 2), corpus="a")
    with pytest.raises(DataError, match="no partition train; there are: none"):
        official(none)


def test_an_evaluation_partition_validates_only_where_nothing_else_does() -> None:
    manifest = _partitioned()
    named = {"Test2": "Evaluation", "Development": "Train"}
    esd = [replace(u, partition=named.get(u.partition or "", u.partition)) for u in manifest]
    assert official(replace(manifest, utterances=tuple(esd)), ("test1",)).folds[0].validation == (
        "m/6",
    )
    both = [replace(u, partition="Evaluation" if u.id == "m/6" else u.partition) for u in manifest]
    with_both = replace(manifest, utterances=tuple(both))
    assert official(with_both, ("test1",)).folds[0].validation == ("m/2",)
    assert official(with_both, ("evaluation",)).folds[0].test == ("m/6",)


def test_official_partitions_that_share_speakers_are_named() -> None:
    manifest = _partitioned()
    leaky = replace(manifest.utterances[3], speaker="s1")
    mixed = replace(manifest, utterances=(*manifest.utterances[:3], leaky))
    with pytest.raises(DataError, match="speaker s1 leaks from train to test"):
        official(mixed, ("test1",))
    assert "speaker-dependent" in official(mixed, ("test1",), shared_speakers=True).protocol


def test_train_on_one_corpus_test_on_others() -> None:
    a, b, c = _manifest("a", 4), _manifest("b", 2), _manifest("c", 2)
    table = across([a], [b, c], 1)
    assert table.protocol == "train on a, test on b and c"
    assert [_speakers(f.test) for f in table.folds] == [{"b/01", "b/02"}, {"c/01", "c/02"}]
    assert _speakers(table.folds[0].validation) == {"a/04"}
    with pytest.raises(DataError, match="none would train"):
        across([a], [b], 4)
    with pytest.raises(DataError, match="at least one corpus for each side"):
        across([a], [])
    with pytest.raises(DataError, match="leaks from train to test"):
        across([a], [replace(a, corpus="again")])


def test_speaker_dependent_folds_say_so() -> None:
    manifest = _manifest("a", 4)
    table = speaker_dependent(manifest, 4)
    assert "speaker-dependent" in table.protocol
    assert sorted(k for f in table.folds for k in f.test) == sorted(u.id for u in manifest)
    assert table.hash == speaker_dependent(manifest, 4).hash
    assert table.hash != speaker_dependent(manifest, 4, seed=1).hash
    with pytest.raises(DataError, match="leaks"):
        check_disjoint(table, manifest.utterances)
    with pytest.raises(DataError, match="give 3 or more"):
        speaker_dependent(manifest, 2)


def test_leaks_are_named_by_file_and_line() -> None:
    manifest = _manifest("a", 3)
    fold = leave_one_speaker_out(manifest).folds[0]
    leaky = FoldTable("x", (replace(fold, train=(*fold.train, fold.test[0])),))
    with pytest.raises(DataError, match=r"utterance m\.csv:2 \(a/01-0\)"):
        check_disjoint(leaky, manifest.utterances, {fold.test[0]: "m.csv:2"})


def test_leaks_of_official_partitions_and_between_corpora_say_file_and_line() -> None:
    manifest = _partitioned()
    leaky = replace(manifest.utterances[3], speaker="s1")
    lines = tuple(f"m.csv:{i}" for i in range(2, 6))
    mixed = replace(manifest, utterances=(*manifest.utterances[:3], leaky), places=lines)
    with pytest.raises(DataError, match=r"\(utterance m\.csv:5 \(m/3\)\)"):
        official(mixed, ("test1",))
    a = replace(_manifest("a", 1, 2), places=("a.csv:2", "a.csv:3"))
    with pytest.raises(DataError, match=r"a\.csv:2"):
        across([a], [replace(a, corpus="again")])


def test_who_has_no_speaker_is_said() -> None:
    manifest = replace(_manifest("a", 3), places=tuple(f"a.csv:{i}" for i in range(2, 11)))
    nobody = replace(manifest.utterances[4], speaker=None)
    rows = (*manifest.utterances[:4], nobody, *manifest.utterances[5:])
    with pytest.raises(DataError, match=r"^a\.csv:6: no speaker, .* 1 of 9 utterances"):
        leave_one_speaker_out(replace(manifest, utterances=rows))


def test_a_fold_table_is_read_back(tmp_path: Path) -> None:
    table = leave_one_speaker_out(_manifest("a", 3))
    path = tmp_path / "folds.json"
    path.write_text(json.dumps(asdict(table)))
    assert read_folds(path).hash == table.hash
    path.write_text('{"folds": [{"name": "x"}]}')
    with pytest.raises(DataError, match="no fold table"):
        read_folds(path)
    path.write_text('{"folds": []}')
    with pytest.raises(DataError, match="no fold in it"):
        read_folds(path)
    with pytest.raises(DataError, match="no fold table can be read"):
        read_folds(tmp_path / "none.json")
