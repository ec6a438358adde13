"""Filling: gaps only, with provenance, thresholds, agreement and resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.pseudolabel.fakes import Fake, opinion, rows

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.language import Opinion
from voicetone.pseudolabel import Filled, Journal, fill
from voicetone.pseudolabel.steps import TextStep

TEXTS = tuple({"transcript": f"text {i}"} for i in range(5))


def run(folder: Path, manifest: Manifest, fake: Fake, **options: Any) -> Filled:
    with Journal(folder / "out.labels.jsonl") as journal:
        return fill(manifest, [TextStep(fake)], journal, **options)


def test_gaps_are_filled_with_source_and_confidence(tmp_path: Path) -> None:
    found = run(tmp_path, rows({"transcript": "bad"}), Fake({"bad": opinion("negative", 0.7)}))
    (u,) = found.manifest
    assert u.sentiment == "negative"
    assert u.extra == {"sentiment_source": "fake 1", "sentiment_confidence": "0.7000"}
    assert found.tallies[0].filled == 1


def test_what_people_said_stays_and_is_not_asked_about(tmp_path: Path) -> None:
    before = rows({"transcript": "a", "sentiment": "neutral", "extra": {"note": "x"}})
    fake = Fake()
    found = run(tmp_path, before, fake)
    assert found.manifest == before
    assert fake.asked == []
    assert found.tallies[0].there == 1


def test_check_asks_about_labelled_rows_and_changes_none(tmp_path: Path) -> None:
    before = rows(
        {"transcript": "a", "sentiment": "neutral"},
        {"transcript": "b", "sentiment": "positive"},
        {"transcript": "c", "sentiment": "negative"},
    )
    found = run(tmp_path, before, Fake({"c": opinion("negative")}), check=True)
    assert found.manifest == before
    agreement = found.tallies[0].agreement
    assert agreement is not None
    assert agreement.compared == 3
    assert agreement.accuracy == pytest.approx(2 / 3)
    assert agreement.uar == pytest.approx(2 / 3)


def test_agreement_leaves_out_values_of_machines(tmp_path: Path) -> None:
    machine = {"sentiment_source": "other 1"}
    before = rows({"transcript": "a", "sentiment": "neutral", "extra": machine})
    fake = Fake()
    found = run(tmp_path, before, fake, check=True)
    assert found.manifest == before
    assert found.tallies[0].agreement is None
    assert fake.asked == []


def test_unsure_values_are_left_out_and_counted(tmp_path: Path) -> None:
    answers = {"text 1": opinion("negative", 0.6), "text 2": opinion("negative", 0.8)}
    found = run(tmp_path, rows(*TEXTS[1:3]), Fake(answers), least={"sentiment": 0.7})
    assert [u.sentiment for u in found.manifest] == [None, "negative"]
    assert dict(found.tallies[0].left) == {"confidence below 0.7": 1}
    assert found.failures == 0


def test_rows_without_words_or_of_other_languages_are_left_and_counted(tmp_path: Path) -> None:
    before = rows(
        {},
        {"transcript": "  "},
        {"transcript": "schön", "language": "de-AT"},
        {"transcript": "nice", "language": "en_GB"},
        {"transcript": "who knows"},
    )
    fake = Fake(languages=("en",))
    found = run(tmp_path, before, fake)
    assert fake.asked == [("nice", "en")]
    assert dict(found.tallies[0].left) == {
        "no transcript": 2,
        "language de, of which en is known": 1,
        "language not known: name it with --language": 1,
    }


def test_batches_are_of_one_language(tmp_path: Path) -> None:
    languages = ("en", "en", "en", "de", "en")
    before = rows(*({**t, "language": x} for t, x in zip(TEXTS, languages, strict=True)))
    fake = Fake(batch=2)
    found = run(tmp_path, before, fake)
    assert [language for _, language in fake.asked] == list(languages)
    assert found.tallies[0].filled == 5


def test_a_failed_row_costs_that_row_and_is_asked_again(tmp_path: Path) -> None:
    bad = {"text 2": Opinion(problem="timed out", failed=True)}
    first = run(tmp_path, rows(*TEXTS), Fake(bad))
    assert [u.sentiment is None for u in first.manifest] == [False, False, True, False, False]
    assert dict(first.tallies[0].failed) == {"timed out": 1}
    again = Fake()
    second = run(tmp_path, rows(*TEXTS), again)
    assert again.texts == ["text 2"]
    assert second.failures == 0
    assert second.tallies[0].known == 4


def test_a_provider_that_breaks_loses_nothing(tmp_path: Path) -> None:
    first = run(tmp_path, rows(*TEXTS), Fake(most=2))
    assert [u.sentiment is None for u in first.manifest] == [False, False, True, True, True]
    assert first.tallies[0].stopped == "fake is broken: mend it"
    assert first.failures == 3
    again = Fake()
    second = run(tmp_path, rows(*TEXTS), again)
    assert again.texts == ["text 2", "text 3", "text 4"]
    assert [u.sentiment for u in second.manifest] == ["positive"] * 5


def test_another_text_is_another_question(tmp_path: Path) -> None:
    run(tmp_path, rows({"transcript": "a"}), Fake())
    again = Fake()
    run(tmp_path, rows({"transcript": "b"}), again)
    assert again.texts == ["b"]


def test_another_threshold_asks_nothing_again(tmp_path: Path) -> None:
    run(tmp_path, rows(*TEXTS), Fake(), least={"sentiment": 1.0})
    again = Fake()
    found = run(tmp_path, rows(*TEXTS), again)
    assert again.asked == []
    assert found.tallies[0].filled == 5


def test_before_is_told_what_will_be_asked_and_can_end_the_run(tmp_path: Path) -> None:
    def stop(step: object, asked: list[object]) -> None:
        assert len(asked) == 5
        raise KeyboardInterrupt

    fake = Fake()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, rows(*TEXTS), fake, before=stop)
    assert fake.asked == []


def test_two_rows_of_one_id_are_refused(tmp_path: Path) -> None:
    one = rows({"transcript": "a"})
    with pytest.raises(DataError, match="two rows have the id u0"):
        run(tmp_path, replace(one, utterances=one.utterances * 2), Fake())
