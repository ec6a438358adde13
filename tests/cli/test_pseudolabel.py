"""`voicetone pseudolabel` as a command: files, exit codes and what stands on the screen."""

from __future__ import annotations

import csv
import json
import subprocess
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Run, noise, write_audio
from tests.language.server import Reply, chat, serving

from voicetone.corpora.tables import read_manifest

HEAD = "file,speaker,emotion,sentiment,language,transcript\n"
ROWS = (
    "a.wav,s1,,,en,what a wonderful day\n"
    "b.wav,s1,,,en,I hate this terrible service\n"
    "c.wav,s2,,negative,en,this is great\n"
    "d.wav,s2,,,de,das ist schlecht\n"
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "m.csv"
    path.write_text(HEAD + ROWS, "utf-8")
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words(*more: object) -> tuple[object, ...]:
    return ("--transcript-by", "none", *more)


def test_sentiment_from_transcripts(voicetone: Run, manifest: Path, tmp_path: Path) -> None:
    before = manifest.read_bytes()
    done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", *words())
    assert done.code == 0, done.err
    assert manifest.read_bytes() == before
    rows = table(tmp_path / "o.csv")
    assert [r["sentiment"] for r in rows] == ["positive", "negative", "negative", ""]
    assert json.loads(rows[1]["extra"])["sentiment_source"].startswith("vader 3")
    assert rows[2]["extra"] == ""
    said = done.err
    assert "2 filled, 1 kept as they were (2 asked now, 0 known" in said
    assert "left empty: 1, language de, of which en is known" in said


def test_the_output_is_a_manifest_and_machines_values_are_no_persons(
    voicetone: Run, manifest: Path, tmp_path: Path
) -> None:
    voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", *words())
    for u in read_manifest(tmp_path / "o.csv"):
        assert (u.sentiment is not None) == (u.transcript != "das ist schlecht")
    again = voicetone(
        "pseudolabel", tmp_path / "o.csv", "--out", tmp_path / "p.csv", *words("--check")
    )
    assert "on 1 labelled by people" in again.err
    assert table(tmp_path / "p.csv") == table(tmp_path / "o.csv")


def test_the_same_command_goes_on(voicetone: Run, manifest: Path, tmp_path: Path) -> None:
    line = ("pseudolabel", manifest, "--out", tmp_path / "o.csv", *words())
    voicetone(*line)
    first = (tmp_path / "o.csv").read_bytes()
    log = tmp_path / "o.labels.jsonl"
    whole = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(whole[0] + whole[1][:20])  # killed while writing
    done = voicetone(*line)
    assert "1 asked now, 1 known" in done.err
    assert (tmp_path / "o.csv").read_bytes() == first


def test_thresholds_of_all_fields_and_of_one(
    voicetone: Run, manifest: Path, tmp_path: Path
) -> None:
    least = ("--min-confidence", "0.85", "--min-confidence", "transcript=0.1")
    done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", *words(*least))
    assert [r["sentiment"] for r in table(tmp_path / "o.csv")] == ["", "negative", "negative", ""]
    assert "confidence below 0.85" in done.err


@pytest.mark.parametrize("text", ["2", "-1", "x", "words=0.5", "nan", "sentiment="])
def test_thresholds_that_are_none(
    text: str, voicetone: Run, manifest: Path, tmp_path: Path
) -> None:
    done = voicetone(
        "pseudolabel", manifest, "--out", tmp_path / "o.csv", f"--min-confidence={text}"
    )
    assert done.code == 2
    assert "number from 0 to 1" in done.err


def test_the_summary_as_json(voicetone: Run, manifest: Path, tmp_path: Path) -> None:
    done = voicetone(
        "pseudolabel", manifest, "--out", tmp_path / "o.csv", *words("--check", "--json", "-")
    )
    (field,) = json.loads(done.out)["fields"]
    assert (field["field"], field["filled"], field["there"]) == ("sentiment", 2, 1)
    assert field["agreement"]["compared"] == 1
    assert field["agreement"]["accuracy"] == 0


def test_places_where_something_would_be_lost(
    voicetone: Run, manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.csv").write_text("precious\n")
    (tmp_path / "w.csv").write_text("precious\n")
    (tmp_path / "w.labels.jsonl").write_text("precious\n")
    for out, says in (
        (manifest, "would overwrite the manifest"),
        (tmp_path / "." / "m.csv", "would overwrite the manifest"),
        (tmp_path / "other.csv", "was not made by this command"),
        (tmp_path / "w.csv", "something else than pseudo-labels"),
        (tmp_path / "o.txt", "ends in .csv"),
    ):
        done = voicetone("pseudolabel", manifest, "--out", out, *words())
        assert done.code == 2, done.err
        assert says in done.err
    assert (tmp_path / "other.csv").read_text() == "precious\n"
    assert (tmp_path / "w.csv").read_text() == "precious\n"


def test_recordings_that_can_not_be_read_cost_their_rows(
    voicetone: Run, manifest: Path, tmp_path: Path
) -> None:
    manifest.write_text(HEAD + ROWS + "e.wav,s2,,,en,\nf.wav,s2,,,en,\n", "utf-8")
    (tmp_path / "f.wav").write_bytes(b"no sound")
    done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv")
    assert done.code == 3
    assert "failed: 1, no such file: check the path" in done.err
    assert "left empty: 2, no transcript" in done.err
    assert [r["sentiment"] for r in table(tmp_path / "o.csv")][:2] == ["positive", "negative"]
    assert len(table(tmp_path / "o.csv")) == 6


def test_a_table_without_labels_is_enough(voicetone: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("file,text\na.wav,this is great\n", "utf-8")
    line = ("pseudolabel", path, "--out", tmp_path / "o.csv", *words("--language", "en"))
    assert voicetone(*line).code == 0
    assert table(tmp_path / "o.csv")[0]["sentiment"] == "positive"


def test_unknown_providers_are_named(voicetone: Run, manifest: Path, tmp_path: Path) -> None:
    for option in ("--transcript-by", "--sentiment-by"):
        done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", option, "oracle")
        assert done.code == 2
        assert f"{option} oracle: no such provider" in done.err
    none = ("--transcript-by", "none", "--sentiment-by", "none")
    done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", *none)
    assert done.code == 2
    assert "nothing to fill" in done.err
    assert not (tmp_path / "o.csv").exists()


def test_words_from_audio_then_sentiment(
    voicetone: Run, tmp_path: Path, needs_program: Callable[[str], Path]
) -> None:
    speak = [str(needs_program("espeak-ng")), "-v", "en-us", "-s", "120", "-w"]
    for name in ("a", "b"):
        subprocess.run([*speak, tmp_path / f"{name}.wav", "good morning everybody"], check=True)
    path = tmp_path / "m.csv"
    path.write_text("file,language,transcript\na.wav,en,\nb.wav,de,\n", "utf-8")
    done = voicetone("pseudolabel", path, "--out", tmp_path / "o.csv")
    assert done.code == 0, done.err
    first, second = table(tmp_path / "o.csv")
    assert first["transcript"]
    assert first["sentiment"] in ("positive", "neutral", "negative")
    extra = json.loads(first["extra"])
    assert extra["transcript_source"].startswith("pocketsphinx 5")
    assert 0 <= float(extra["transcript_confidence"]) <= 1
    assert (second["transcript"], second["sentiment"]) == ("", "")


NEGATIVE_ALWAYS = {"positive": 0.05, "neutral": 0.15, "negative": 0.8}


def llm(url: str, *more: object) -> tuple[object, ...]:
    return words("--sentiment-by", "llm", "--endpoint", url, "--model", "tiny", *more)


def test_sentiment_by_an_endpoint_on_this_machine(
    voicetone: Run, manifest: Path, tmp_path: Path
) -> None:
    with serving(lambda request, n: chat(NEGATIVE_ALWAYS)) as server:
        more = llm(server.url, "--price-in", 1, "--price-out", 2)
        done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", *more)
    assert done.code == 0, done.err
    assert [r["sentiment"] for r in table(tmp_path / "o.csv")] == ["negative"] * 4
    assert len(server.requests) == 3
    assert "sentiment: 3 transcripts, about " in done.err
    assert "go to 127.0.0.1; about 0.00 at the prices given" in done.err
    assert "127.0.0.1 counted 600 tokens in and 90 out" in done.err


def test_an_endpoint_that_dies_half_way_loses_nothing(
    voicetone: Run, manifest: Path, tmp_path: Path
) -> None:
    def answer(request: object, n: int) -> Reply:
        return chat(NEGATIVE_ALWAYS) if n == 0 else Reply(b"gone", status=401)

    with serving(answer) as server:
        line = ("pseudolabel", manifest, "--out", tmp_path / "o.csv", *llm(server.url))
        first = voicetone(*line)
        assert first.code == 3
        assert "stopped: 127.0.0.1: refused with status 401" in first.err
        assert [r["sentiment"] for r in table(tmp_path / "o.csv")] == [
            "negative", "", "negative", ""
        ]  # fmt: skip
        server.answer = lambda request, n: chat(NEGATIVE_ALWAYS)
        second = voicetone(*line)
    assert second.code == 0
    assert [r["sentiment"] for r in table(tmp_path / "o.csv")] == ["negative"] * 4
    asked = [json.loads(r["messages"][1]["content"])["transcript"] for r in server.requests]
    assert asked.count("what a wonderful day") == 1


def test_nothing_is_sent_unasked(voicetone: Run, manifest: Path, tmp_path: Path) -> None:
    away = llm("https://api.example.invalid/v1")
    done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", *away)
    assert done.code == 2
    assert "transcripts would go to api.example.invalid" in done.err
    named = (*away, "--send-text-to", "api.example.invalid")
    done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", *named)
    assert done.code == 2
    assert "nobody to ask" in done.err
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize(
    "prices", [("--price-in", 1), ("--price-in", -1, "--price-out", 1), ("--price-out", "nan")]
)
def test_prices_that_are_none(
    prices: tuple[object, ...], voicetone: Run, manifest: Path, tmp_path: Path
) -> None:
    done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", *words(*prices))
    assert done.code == 2
    assert "--price-" in done.err


def test_labels_from_the_voice(voicetone: Run, toy: Path, tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", noise(4.0))
    path = tmp_path / "m.csv"
    path.write_text("file,speaker\na.wav,s1\n", "utf-8")
    by_tone = ("--sentiment-by", "none", "--emotion-by", "tone", "--bundle", toy)
    done = voicetone("pseudolabel", path, "--out", tmp_path / "o.csv", *words(*by_tone))
    assert done.code == 0, done.err
    (row,) = table(tmp_path / "o.csv")
    assert row["emotion"]
    assert json.loads(row["extra"])["emotion_source"] == "bundle toy 0.1.0"


def test_a_no_sends_nothing(
    voicetone: Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def no(question: str, **options: object) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("typer.confirm", no)
    monkeypatch.setattr("socket.socket.connect", None)  # whoever connects, fails the test
    away = llm("https://api.example.invalid/v1", "--send-text-to", "api.example.invalid")
    done = voicetone("pseudolabel", manifest, "--out", tmp_path / "o.csv", *away)
    assert done.code == 130
    assert asked == ["Send them?"]
    assert "go to api.example.invalid; the cost is not known" in done.err
    assert (tmp_path / "o.labels.jsonl").read_bytes() == b""
