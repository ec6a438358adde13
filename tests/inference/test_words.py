"""Sessions that are told words: which windows know them, live = file, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.inference.sounds import analyse, assert_same, windows
from tests.inference.test_enrolment import voice
from tests.inference.test_properties import CUTS, few
from tests.toy import make_toy_bundle
from tests.toy_words import KNOWN, LIMIT, make_words_bundle, text_network

from voicetone.errors import BundleError, UsageError
from voicetone.inference.batch import run_jobs
from voicetone.inference.file import analyze
from voicetone.inference.live import Event, LiveSession
from voicetone.inference.split_file import Splitting
from voicetone.inference.words import MOST_TEXT, MOST_WAITING
from voicetone.pretrained import Predictor, WindowPredictor, load
from voicetone.types import FileResult, Floats, Said

RATE = 8000
SAID = (Said(0.3, 2.2, "It's fine!"), Said(6.1, 9.1, "thank YOU"), Said(15.5, 30.0, "I hate it"))


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> WindowPredictor:
    found = load(make_words_bundle(tmp_path_factory.mktemp("reading")))
    assert isinstance(found, WindowPredictor)
    return found


def live(
    predictor: Predictor, sound: Floats, said: tuple[Said, ...], cuts: tuple[int, ...] = ()
) -> tuple[list[Event], LiveSession]:
    """A call whose words come when the audio up to their end is there."""
    session = LiveSession(predictor, RATE)
    due = sorted(((round(s.end * RATE), s) for s in said), key=lambda one: one[0])
    events: list[Event] = []
    at = 0
    for end in sorted({*cuts, *(place for place, _ in due if place < len(sound)), len(sound)}):
        events += session.push(sound[at:end])
        at = end
        for place, one in due:
            if place == end or (place > end == len(sound)):
                session.say(1, one.start, one.end, one.text)
    return events + session.close(), session


def of_windows(found: list[Event] | FileResult) -> Floats:
    told = found.channels[0].windows if isinstance(found, FileResult) else windows(found)
    return np.array([list((w.emotion or {}).values()) for w in told], np.float32)


def test_words_count_for_windows_that_overlap_them_and_come_after(reading: Predictor) -> None:
    sound = voice(18.0, 1, RATE)
    plain = of_windows(analyse(reading, sound, RATE))
    found, session = live(reading, sound, SAID[:2])
    ends = np.array([w.end for w in windows(found)])
    starts = np.array([w.start for w in windows(found)])
    differ = np.abs(of_windows(found) - plain).max(axis=1) > 1e-5
    first = (ends > 2.2) & (starts < 2.2)
    second = (ends > 9.1) & (starts < 9.1)
    np.testing.assert_array_equal(differ, first | second)
    assert session.windows_with_words(1) == (first | second).sum() == 3
    np.testing.assert_array_equal(ends[second], [10.0, 12.5])  # not 7.5, which was scored before


def test_words_of_a_window_are_read_together_in_their_order(reading: WindowPredictor) -> None:
    sound = voice(5.0, 1)
    session = LiveSession(reading, 16_000)
    session.push(sound[:16_000])
    session.say(1, 0.6, 0.9, "you")
    session.say(1, 0.1, 0.4, "thank")
    session.say(1, 0.5, 0.6, "nobody knows")
    (job,) = session.feed(sound[16_000:])
    (output,) = run_jobs(reading, [job])
    assert job.texts == ("thank you",)
    assert "thank" not in repr(job)
    (window,) = windows(session.finish(job, output))
    assert window.emotion is not None
    other = LiveSession(reading, 16_000)
    other.say(1, 0.1, 0.9, "Thank… YOU?")
    (same,) = windows(other.push(sound))
    assert_same(window, same)


@settings(few, max_examples=12)
@given(CUTS, st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 8), st.sampled_from(KNOWN))))
def test_any_cutting_gives_the_same(
    reading: Predictor, cuts: list[float], spoken: list[tuple[float, float, str]]
) -> None:
    sound = voice(16.3, 2, RATE)
    said = tuple(Said(start, start + length, text) for start, length, text in spoken)
    whole, session = live(reading, sound, said)
    found, other = live(reading, sound, said, tuple(round(c * len(sound)) for c in cuts))
    assert_same(found, whole)
    assert session.windows_with_words(1) == other.windows_with_words(1)


def test_a_busy_model_changes_nothing(reading: Predictor) -> None:
    """The jobs are run long after the audio and the words came."""
    sound = voice(16.3, 2, RATE)
    wanted, _ = live(reading, sound, SAID)
    session = LiveSession(reading, RATE)
    at, jobs = 0, []
    for one in SAID:
        end = min(round(one.end * RATE), len(sound))
        jobs += session.feed(sound[at:end])
        session.say(1, one.start, one.end, one.text)
        at = end
    jobs += session.end()
    found: list[Event] = []
    while jobs:
        for job, output in zip(jobs, run_jobs(reading, jobs), strict=True):
            found += session.finish(job, output)
        jobs = session.ready()
    assert_same(found, wanted)


def test_a_file_gives_what_the_call_gave(reading: Predictor, tmp_path: Path) -> None:
    sound = voice(23.7, 1, RATE)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    called, session = live(reading, sound, SAID)
    for said in (SAID, {1: SAID}):
        found = analyze(tmp_path / "a.wav", reading, transcripts=said)
        assert_same(list(found.channels[0].windows), windows(called))
        assert found.channels[0].windows_with_words == session.windows_with_words(1) == 4
        again = FileResult.from_dict(found.to_dict())
        assert again.channels[0].windows_with_words == 4
    silent = analyze(tmp_path / "a.wav", reading)
    assert silent.to_dict()["channels"][0]["windows_with_words"] == 0
    assert np.abs(of_windows(silent) - of_windows(called)).max() > 1e-3


def test_words_that_end_with_a_window_or_with_the_file(reading: Predictor, tmp_path: Path) -> None:
    for seconds, ends in ((5.0, 5.0), (10.0, 10.0), (3.0, 3.0), (6.2, 6.3)):
        soundfile.write(tmp_path / "a.wav", voice(seconds, 1, RATE), RATE, subtype="FLOAT")
        said = [Said(0.0, ends, "terrible")]
        found = analyze(tmp_path / "a.wav", reading, transcripts=said).channels[0]
        assert found.windows_with_words == 1, seconds


def test_each_channel_has_its_own_words(reading: Predictor, tmp_path: Path) -> None:
    sound = np.stack([voice(8.0, 1, RATE)] * 2)
    soundfile.write(tmp_path / "a.wav", sound.T, RATE, subtype="FLOAT")
    found = analyze(tmp_path / "a.wav", reading, transcripts={2: SAID[:1]})
    assert [c.windows_with_words for c in found.channels] == [0, 1]
    with pytest.raises(UsageError, match=r"a\.wav: one transcript, and 2 channels"):
        analyze(tmp_path / "a.wav", reading, transcripts=SAID)
    with pytest.raises(UsageError, match="channel 2, which is not analysed: there are 1"):
        analyze(tmp_path / "a.wav", reading, channels=[1], transcripts={2: SAID})


def test_nothing_is_kept_of_what_passed(reading: Predictor) -> None:
    session = LiveSession(reading, RATE)
    for place in range(40):
        session.push(voice(1.0, 1, RATE))
        session.say(1, place, place + 1.0, "hate")
    held = session._stream(1).wording._told
    assert len(held) < 12
    for _ in range(MOST_WAITING - len(held)):
        session.say(1, 40.0, 41.0, "hate")
    with pytest.raises(UsageError, match="stretches of words"):
        session.say(1, 40.0, 41.0, "hate")


@pytest.mark.parametrize(
    ("start", "end", "text", "why"),
    [
        (2.0, 2.0, "fine", "start before the end"),
        (-1.0, 2.0, "fine", "start before the end"),
        (math.nan, 2.0, "fine", "start before the end"),
        (0.0, math.inf, "fine", "start before the end"),
        (0.0, 1.0, "x" * (MOST_TEXT + 1), "in stretches of at most"),
    ],
)
def test_words_that_cannot_be(
    reading: Predictor, start: float, end: float, text: str, why: str
) -> None:
    session = LiveSession(reading, RATE)
    with pytest.raises(UsageError, match=why):
        session.say(1, start, end, text)
    with pytest.raises(UsageError, match="channel 2 is not analysed"):
        session.say(2, 0.0, 1.0, "fine")
    session.close()
    with pytest.raises(UsageError, match="the session is closed"):
        session.say(1, 0.0, 1.0, "fine")


def test_a_model_that_takes_no_words(tmp_path: Path) -> None:
    plain = load(make_toy_bundle(tmp_path / "plain"))
    session = LiveSession(plain, RATE)
    assert session.windows_with_words(1) is None
    with pytest.raises(UsageError, match="takes no words: leave the transcript out"):
        session.say(1, 0.0, 1.0, "fine")
    soundfile.write(tmp_path / "a.wav", voice(6.0, 1, RATE), RATE)
    with pytest.raises(UsageError, match=r"a\.wav: toy .* takes no words"):
        analyze(tmp_path / "a.wav", plain, transcripts=SAID)
    assert "windows_with_words" not in analyze(tmp_path / "a.wav", plain).to_dict()["channels"][0]
    with pytest.raises(UsageError, match="which party said what"):
        analyze(tmp_path / "a.wav", plain, transcripts=SAID, split=Splitting())


def test_unknown_words_are_missing_ones(reading: WindowPredictor) -> None:
    values = np.random.default_rng(1).standard_normal((50, 13)).astype(np.float32)
    nothing = reading.probabilities(values)["emotion"]
    for text in ("", "…", "nobody knows", None):
        np.testing.assert_array_equal(reading.probabilities(values, None, text)["emotion"], nothing)
    known = reading.probabilities(values, None, "fine")["emotion"]
    assert np.abs(known - nothing).max() > 1e-3
    np.testing.assert_array_equal(
        reading.probabilities(values, None, "nobody is FINE")["emotion"], known
    )
    long = reading.probabilities(values, None, "you " * 500)["emotion"]
    np.testing.assert_array_equal(
        reading.probabilities(values, None, "you " * LIMIT)["emotion"], long
    )


def test_a_part_that_does_not_fit(tmp_path: Path) -> None:
    from tests.toy_words import TEXT

    for known, why in (
        (KNOWN[:-1], "different words that the bundle says"),
        ((*KNOWN[:-1], "fine"), "different words that the bundle says"),
    ):
        with pytest.raises(BundleError, match=why):
            load(make_words_bundle(tmp_path / "a", known))
    changed = {
        "graphs": ({"classifier": "classifier.onnx"}, "graphs.text goes with text"),
        "text": ({**TEXT, "size": 7}, "text.onnx: vectors has the shape"),
    }
    for key, (value, why) in changed.items():
        with pytest.raises(BundleError, match=why):
            load(make_words_bundle(tmp_path / key, KNOWN, **{key: value}))
    for part, why in (
        ({**TEXT, "words": 0}, "text.words"),
        ({**TEXT, "limit": 10**6}, "text.limit"),
        ({**TEXT, "encoder": "bert"}, "text.encoder"),
        ({**TEXT, "vocabulary": "../words"}, "text.vocabulary"),
        ({**TEXT, "vocabulary": "other.txt"}, "no hash for other.txt"),
        ({**TEXT, "vocabulary": "text.onnx"}, "text.vocabulary is no graph"),
    ):
        with pytest.raises(BundleError, match=why):
            load(make_words_bundle(tmp_path / "b", text=part))


def test_a_list_or_a_graph_that_was_changed(tmp_path: Path) -> None:
    from tests.toy import write_spec
    from tests.toy_words import TEXT

    folder = make_words_bundle(tmp_path / "a")
    (folder / "vocabulary.txt").write_text("\n".join(reversed(KNOWN)) + "\n", "utf-8")
    with pytest.raises(BundleError, match=r"vocabulary\.txt: its SHA-256"):
        load(folder)
    folder = make_words_bundle(tmp_path / "b")
    (folder / "text.onnx").write_bytes(text_network(rows=3).SerializeToString())
    content = _spec(folder)
    write_spec(folder, content)
    with pytest.raises(BundleError, match="the model failed while running"):
        load(folder)
    (folder / "vocabulary.txt").write_bytes(b"\xff\xfe" * 9)
    write_spec(folder, content)
    with pytest.raises(BundleError, match="not a list of words in UTF-8"):
        load(folder)
    assert TEXT["words"] == len(KNOWN)


def _spec(folder: Path) -> dict[str, object]:
    import json

    content: dict[str, object] = json.loads((folder / "bundle.json").read_text())
    content.pop("files")
    return content
