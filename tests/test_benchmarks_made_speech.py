"""The made corpus: what its design promises, and what is to be heard in its clips."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from voicetone.corpora.manifest import Manifest
from voicetone.corpora.tables import read_manifest
from voicetone.training.protocol import official
from voicetone.types import SENTIMENTS

ROOT = Path(__file__).resolve().parents[1]
TOY = {"voices": 3, "count": 6, "seed": 5}
Program = Callable[[str], Path]


@pytest.fixture(scope="module")
def script() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import made_speech
    return made_speech


@pytest.fixture(scope="module")
def toy(
    script: ModuleType, needs_program: Program, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    needs_program("espeak-ng")
    out = tmp_path_factory.mktemp("made") / "toy"
    script.build(out, **TOY)
    return out


@pytest.fixture(scope="module")
def corpus(toy: Path) -> Manifest:
    return read_manifest(toy / "manifest.csv").require_valid()


def pitch(path: Path) -> NDArray[np.float64]:
    """Pitch of voiced frames in semitones over 100 Hz, by normalised autocorrelation."""
    samples, rate = soundfile.read(path)
    n, least, most = round(0.04 * rate), rate // 450, round(rate / 60)
    out = []
    for start in range(0, len(samples) - n - most, n // 4):
        frame = samples[start : start + n]
        later = np.lib.stride_tricks.sliding_window_view(samples[start : start + n + most], n)
        if np.abs(frame).max() < 0.1 * np.abs(samples).max():
            continue
        energy = np.sqrt((frame**2).sum() * (later**2).sum(axis=1)) + 1e-12
        alike = (later @ frame / energy)[least:]
        if alike.max() > 0.9:
            lag = int(np.flatnonzero(alike > 0.97 * alike.max())[0])  # no octave too low
            while lag + 1 < len(alike) and alike[lag + 1] > alike[lag]:
                lag += 1
            out.append(12 * np.log2(rate / (lag + least) / 100))
    return np.array(out)


def test_parts_share_no_voice_and_no_sentence(script: ModuleType) -> None:
    for size in ((32, 54), (3, 3), (9, 30)):
        clips = script.plan(*size, seed=1)
        assert len(clips) == 3 * size[0] * size[1] == len({c.name for c in clips})
        for what in (lambda c: c.voice.variant, lambda c: c.sentence.text):
            owners = {(what(c), c.part) for c in clips}
            assert len(owners) == len({value for value, _ in owners})
        part = {name: [c.sentence for c in clips if c.part == name] for name in script.PARTS}
        heard = {s.word for s in part["train"]}
        templates = {s.template for s in part["train"]}
        for name in ("validation", "test"):
            assert {s.word for s in part[name]} <= heard
            assert not templates & {s.template for s in part[name] if s.held == "template"}
            assert templates & {s.template for s in part[name] if s.held == "pair"} or size[1] < 30
        assert {s.held for s in part["train"]} == {""}


def test_words_are_heard_about_equally_often(script: ModuleType) -> None:
    clips = script.plan(seed=2)
    assert 4000 <= len(clips) <= 6000
    counts = Counter(c.sentence.word for c in clips if c.part == "train")
    assert len(counts) == sum(len(set(words)) for words in _words(script).values())
    assert max(counts.values()) <= 1.2 * min(counts.values())


def test_labels_are_balanced_and_one_source_is_not_enough(script: ModuleType) -> None:
    clips = script.plan(6, 6)
    for part, found in script.facts(clips).items():
        assert set(found["labels"].values()) == {found["clips"] / 3}, part
        best = found["best_uar"]
        assert best["words"] == best["tone"] == best["sentence"] == pytest.approx(5 / 9)
        assert best["both"] == pytest.approx(1)
    labels = {(c.sentence.words, c.prosody): c.label for c in clips}
    assert len(labels) == 9
    assert labels["positive", "negative"] == labels["negative", "positive"] == "neutral"
    for a in SENTIMENTS:
        assert labels[a, a] == labels[a, "neutral"] == labels["neutral", a] == a


def test_the_ceiling_is_that_of_the_best_answers(script: ModuleType) -> None:
    # x is best called a (4/4 of a against 1/2 of b), y b: recalls 4/4 and 1/2.
    assert script.ceiling("xxxxxy", "aaaabb") == pytest.approx((4 / 4 + 1 / 2) / 2)
    assert script.ceiling("zzzz", "aabb") == 0.5


def test_voices_are_different_ones(script: ModuleType) -> None:
    assert len(script.VOICES) >= 24
    assert len({v.variant.lower() for v in script.VOICES}) == len(script.VOICES)
    assert {v.sex for v in script.VOICES} == {"female", "male"}


def _words(script: ModuleType) -> dict[str, tuple[str, ...]]:
    import made_sentences

    found: dict[str, tuple[str, ...]] = made_sentences.WORDS
    assert script.sentences is made_sentences.sentences
    return found


def test_text_carries_the_sentiment_of_its_words(script: ModuleType) -> None:
    pytest.importorskip("vaderSentiment")
    from voicetone.language.vader import VaderLabeller

    assert all(len(set(words)) >= 12 for words in _words(script).values())
    said = [s for own in script.sentences(0).values() for s in own]
    opinions = VaderLabeller().label([s.text for s in said], "en")
    read = [max(o.scores, key=o.scores.get) for o in opinions if o.scores]  # type: ignore[arg-type]
    agree = np.mean([a == s.words for a, s in zip(read, said, strict=True)])
    assert agree > 0.95


def test_articles_fit(script: ModuleType) -> None:
    texts = {s.text for own in script.sentences(0).values() for s in own}
    assert {"she told an ugly story", "she told a useless story"} <= texts
    assert not any("{" in text for text in texts)


def test_numbers_out_of_range_are_refused(script: ModuleType) -> None:
    for voices, count in ((2, 3), (99, 3), (3, 4), (3, 0), (3, 243)):
        with pytest.raises(ValueError, match="give"):
            script.plan(voices, count)
    assert len(script.plan(3, script.MOST_SENTENCES)) == 3 * 3 * script.MOST_SENTENCES


def test_a_voice_whose_variant_is_ignored_is_refused(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "spoken", lambda *_: (np.ones(3), 16_000))
    with pytest.raises(SystemExit, match="ignores the variant"):
        script.refuse_same(script.VOICES[:1])


def test_a_machine_without_the_program_is_told_so(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="espeak-ng is not installed"):
        script.program()


def test_the_manifest_is_read_with_all_that_is_known(corpus: Manifest) -> None:
    assert len(corpus) == 54
    for u in corpus:
        assert u.label == u.sentiment
        assert u.extra["words"] in SENTIMENTS
        assert u.extra["prosody"] in SENTIMENTS
        assert u.transcript
        assert (u.language, u.sex in ("female", "male")) == ("en", True)
    (fold,) = official(corpus).folds
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (18, 18, 18)


def test_clips_are_short_speech_that_does_not_clip(corpus: Manifest) -> None:
    for u in corpus:
        info = soundfile.info(u.audio)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 0.7 < info.duration < 3
        samples, _ = soundfile.read(u.audio)
        assert 0.02 < np.abs(samples).max() < 0.98


def test_tone_is_heard_in_pitch(corpus: Manifest) -> None:
    heard: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for u in corpus:
        found = pitch(u.audio)
        assert len(found) > 5, u.id
        spread = float(np.subtract(*np.percentile(found, [90, 10])))
        key = (u.speaker or "", u.extra["prosody"])
        heard.setdefault(key, []).append((float(np.median(found)), spread))
    middle = {key: np.median(np.array(values), axis=0) for key, values in heard.items()}
    for speaker in corpus.speakers:
        bright, flat, low = (middle[speaker, tone] for tone in SENTIMENTS)
        assert bright[0] > flat[0] + 1 > low[0] + 1, speaker  # semitones
        assert bright[1] > low[1] > flat[1], speaker
        assert flat[1] < 0.8, speaker  # it holds one pitch


def test_level_says_nothing_of_the_tone(corpus: Manifest) -> None:
    levels: dict[str, list[float]] = {}
    for u in corpus:
        samples, _ = soundfile.read(u.audio)
        levels.setdefault(u.extra["prosody"], []).append(10 * np.log10(np.mean(samples**2)))
    means = [np.mean(values) for values in levels.values()]
    assert np.ptp(means) < 2.5
    assert all(np.ptp(values) > 4 for values in levels.values())


def test_it_goes_on_where_it_stopped_and_gives_the_same_bytes(
    script: ModuleType, toy: Path, corpus: Manifest, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    (out / "audio").mkdir(parents=True)
    (out / "made.json").write_bytes((toy / "made.json").read_bytes())
    kept = corpus.utterances[0].audio.name
    (out / "audio" / kept).write_bytes((toy / "audio" / kept).read_bytes())
    said: list[str] = []
    script.build(out, **TOY, say=said.append)
    assert said[0] == "1 of 54 clips are there already"
    for path in sorted(p for p in toy.rglob("*") if p.is_file()):
        assert (out / path.relative_to(toy)).read_bytes() == path.read_bytes(), path.name
    about = json.loads((out / "made.json").read_text("utf-8"))
    assert about["seed"] == 5
    assert about["espeak-ng"][0].isdigit()
    assert about["parts"]["test"]["best_uar"]["words"] == pytest.approx(5 / 9, abs=1e-5)
    assert "left" in said[-4]


def test_another_seed_gives_other_clips(script: ModuleType, toy: Path) -> None:
    clip = script.plan(**TOY)[0]
    again = script.sound(clip, 5)
    first, _ = soundfile.read(toy / "audio" / f"{clip.name}.flac", dtype="float32")
    assert np.abs(again - first).max() < 1e-4  # but for rounding
    other = script.sound(clip, 6)
    assert len(other) != len(again) or not np.allclose(other, again)


def test_a_folder_of_something_else_is_left_alone(
    script: ModuleType, toy: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match="holds something else"):
        script.build(tmp_path, **TOY)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(SystemExit, match="other settings"):
        script.build(toy, **{**TOY, "seed": 6})
