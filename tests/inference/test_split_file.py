"""A recording whose one channel holds several parties: each is analysed as if it were a channel."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.inference.sounds import analyse, assert_same, currents, noise, silence, windows

from voicetone.audio.energy import energy_presence
from voicetone.audio.units import FRAME, SAMPLE_RATE
from voicetone.errors import AudioError, DataError, UsageError
from voicetone.features.speaker_enrol import Enrolment
from voicetone.inference.file import Overview, analyze
from voicetone.inference.live import OverallEvent
from voicetone.inference.split import Turn
from voicetone.inference.split_file import EDGE, PartyMask, Splitting, background, speakers_in
from voicetone.pretrained import OnnxPredictor
from voicetone.types import FileResult, Floats

TWO = Splitting(2)


def voice(which: int, seconds: float, seed: int = 0) -> Floats:
    """Noise of one colour or another, which plain statistics tell apart."""
    white = noise(seconds, SAMPLE_RATE, 0.2, seed)
    if which == 0:
        return white
    low = np.convolve(white, np.hanning(64) / 12, "same")
    return np.asarray(low, dtype=np.float32)


def talk(*parts: tuple[int | None, float]) -> Floats:
    """Voices by number, and pauses, one after another `[n]`."""
    sounds = [
        silence(seconds) if who is None else voice(who, seconds, i)
        for i, (who, seconds) in enumerate(parts)
    ]
    return np.concatenate(sounds)


TALK = ((None, 1.0), (0, 6.0), (None, 1.0), (1, 7.0), (None, 1.0), (0, 4.0), (None, 1.0), (1, 3.3))


def write(path: Path, samples: Floats, rate: int = SAMPLE_RATE) -> Path:
    soundfile.write(path, np.atleast_2d(samples).T, rate, subtype="FLOAT")
    return path


def test_each_party_is_a_channel_of_its_own(predictor: OnnxPredictor, tmp_path: Path) -> None:
    samples = talk(*TALK)
    overview = Overview()
    told: list[tuple[float, float | None]] = []
    result = analyze(
        write(tmp_path / "a.wav", samples),
        predictor,
        split=TWO,
        overview=overview,
        progress=lambda *seconds: told.append(seconds),
    )
    split = result.split
    assert split is not None
    assert (split.asked, split.speakers, split.encoder) == (2, 2, "statistics-1")
    assert [who for _, _, who in split.turns] == [1, 2, 1, 2]
    wanted = [(1.0, 7.0), (8.0, 15.0), (16.0, 20.0), (21.0, 24.3)]
    assert np.abs(np.array([t[:2] for t in split.turns]) - wanted).max() < 0.2
    # The same, silenced by hand and analysed as two channels.
    rows = np.stack([samples, samples])
    for start, end, who in split.turns:
        rows[2 - who, round((start - EDGE) * 16_000) : round((end + EDGE) * 16_000)] = 0
    events = analyse(predictor, rows)
    for number, found in enumerate(result.channels, 1):
        assert (found.channel, found.name, found.estimated) == (1, f"speaker {number}", True)
        assert_same(list(found.windows), windows(events, number))
        assert_same(list(found.current), currents(events, number))
        ends = [e.overall for e in events if isinstance(e, OverallEvent) and e.channel == number]
        assert_same([found.overall], ends)
    assert result.channels[0].overall.speech_seconds == pytest.approx(10.0, abs=1.0)
    assert result.channels[1].overall.speech_seconds == pytest.approx(10.3, abs=1.0)
    assert overview.peaks().shape[0] == 2
    assert FileResult.from_dict(result.to_dict()).to_dict() == result.to_dict()
    assert [a for a, _ in told] == sorted(a for a, _ in told)
    assert told[-1] == (result.duration, result.duration)


def test_the_channel_of_two_that_is_asked_for(predictor: OnnxPredictor, tmp_path: Path) -> None:
    samples = talk(*TALK)
    path = write(tmp_path / "two.wav", np.stack([noise(len(samples) / 16_000), samples]))
    with pytest.raises(UsageError, match="2 channels would be analysed"):
        analyze(path, predictor, split=TWO)
    one = analyze(write(tmp_path / "one.wav", samples), predictor, split=TWO)
    asked = analyze(path, predictor, channels=[2], split=TWO)
    named = analyze(path, predictor, names=["agent", "customer"], split=TWO)
    for found in (asked, named):
        assert [c.channel for c in found.channels] == [2, 2]
        assert_same([c.windows for c in found.channels], [c.windows for c in one.channels])


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_another_rate_gives_the_same_times(
    predictor: OnnxPredictor, tmp_path: Path, rate: int
) -> None:
    import soxr

    samples = talk(*TALK)
    path = write(tmp_path / "r.wav", soxr.resample(samples, SAMPLE_RATE, rate), rate)
    result = analyze(path, predictor, split=TWO)
    plain = analyze(path, predictor)
    assert [w.end for w in result.channels[0].windows] == [w.end for w in plain.channels[0].windows]
    assert result.duration == plain.duration


def test_nobody_speaks(predictor: OnnxPredictor, tmp_path: Path) -> None:
    for seconds in (0.2, 12.0):
        result = analyze(write(tmp_path / "q.wav", silence(seconds)), predictor, split=TWO)
        (channel,) = result.channels
        assert (channel.name, channel.estimated, channel.overall.label) == (None, False, None)
        assert "silent" in channel.flags
        assert result.split is not None
        assert (result.split.speakers, result.split.turns) == (0, ())


def test_one_voice_and_little_of_it(predictor: OnnxPredictor, tmp_path: Path) -> None:
    alone = Splitting(None)
    for seconds in (0.5, 1.2, 9.0):
        result = analyze(write(tmp_path / "v.wav", voice(0, seconds)), predictor, split=alone)
        assert [c.name for c in result.channels] == ["speaker 1"]
        plain = analyze(tmp_path / "v.wav", predictor)
        assert_same(result.channels[0].windows, plain.channels[0].windows)
    few = analyze(write(tmp_path / "v.wav", voice(0, 1.2)), predictor, split=Splitting(8))
    assert few.split is not None
    assert few.split.asked == 8
    assert 1 <= few.split.speakers == len(few.channels) < 8


def test_what_can_not_be(predictor: OnnxPredictor, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", talk((0, 3.0)))
    for number in (0, 1, 9, 10):
        with pytest.raises(UsageError, match="give 2 to 8"):
            Splitting(number)
    with pytest.raises(UsageError, match="tells no voices apart"):
        Splitting(2, "xvector")
    with pytest.raises(AudioError, match=r"a\.wav: longer than 2 s"):
        analyze(path, predictor, split=Splitting(2, seconds=2.0))
    voice_of = Enrolment(np.ones(3, np.float32), "toy", 3.0, ())
    with pytest.raises(UsageError, match="enrolled voice"):
        analyze(path, predictor, split=TWO, speakers=voice_of)
    assert (speakers_in("2"), speakers_in("8"), speakers_in("auto")) == (2, 8, None)
    for words in ("1", "9", "two", "-2", "2.0", "", "²", "9" * 5000):
        with pytest.raises(UsageError, match="2 to 8, or auto"):
            speakers_in(words)


def test_d_vectors_that_are_not_there(
    predictor: OnnxPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICETONE_CACHE", str(tmp_path))
    path = write(tmp_path / "a.wav", talk((0, 3.0)))
    with pytest.raises(DataError, match="not converted yet"):
        analyze(path, predictor, split=Splitting(2, "dvector"))


turns_of = st.lists(
    st.tuples(st.integers(0, 900), st.integers(1, 3000), st.integers(1, 3)), min_size=1, max_size=9
)


@given(turns_of, st.lists(st.integers(1, 40_000), max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_party_keeps_its_own_and_loses_the_others(
    parts: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    rate, at, turns = 8000, 0, []
    known = sorted({who for _, _, who in parts})
    for pause, length, who in parts:
        start = at + pause
        at = start + length
        turns.append((start / 1000, at / 1000, known.index(who) + 1))
    samples = np.ones((at + 500) * rate // 1000, dtype=np.float32)
    mask = PartyMask(turns, rate)
    edges = sorted({0, len(samples), *(cut for cut in cuts if cut < len(samples))})
    rows = np.concatenate([mask.rows(samples[a:b], a) for a, b in pairwise(edges)], axis=1)
    assert rows.shape == (len(known), len(samples))
    for start, end, who in turns:
        span = slice(round(start * rate), round(end * rate))
        for party in range(1, len(known) + 1):
            assert (rows[party - 1, span] == (party == who)).all()
    far = np.ones(len(samples), dtype=np.bool_)
    for start, end, _ in turns:
        far[round(max(0, start - EDGE) * rate) : round((end + EDGE) * rate)] = False
    assert (rows[:, far] == 1).all()


def test_silence_is_as_loud_as_the_room() -> None:
    """Else a room's noise between the turns would stand out from it, and count as speech."""
    room = 0.004 * noise(20.0, SAMPLE_RATE, 1.0, 9)
    samples = room.copy()
    turns = [Turn(2.0, 6.0, 1), Turn(8.0, 13.0, 2)]
    for turn in turns:
        span = slice(round(turn.start * SAMPLE_RATE), round(turn.end * SAMPLE_RATE))
        samples[span] += voice(0, turn.end - turn.start)
    level = background(samples, turns)
    assert level == pytest.approx(float(np.sqrt(np.square(room).mean())), rel=0.1)
    spans = [(t.start, t.end, t.speaker) for t in turns]
    mask = PartyMask(spans, SAMPLE_RATE, level)
    rows = mask.rows(samples, 0)
    pieces = [mask.rows(samples[a : a + 7777], a) for a in range(0, len(samples), 7777)]
    assert (np.concatenate(pieces, axis=1) == rows).all()
    for row, turn in zip(rows, turns, strict=True):
        frames = row[None, : len(row) // FRAME * FRAME].reshape(1, -1, FRAME)
        floor = np.full((1, 1), 60 + 20 * np.log10(level), dtype=np.float32)
        heard = np.flatnonzero(energy_presence(frames, floor)[0][0] >= 0.5) * FRAME / SAMPLE_RATE
        assert heard.min() == pytest.approx(turn.start, abs=0.1)
        assert heard.max() == pytest.approx(turn.end, abs=0.1)


def test_without_a_pause_the_softest_is_the_background() -> None:
    samples = voice(0, 4.0)
    assert 0 < background(samples, [Turn(0.0, 4.0, 1)]) <= np.abs(samples).max()
    assert background(samples[:10], [Turn(0.0, 1.0, 1)]) == 0.0


def test_memory_is_what_the_limit_says(predictor: OnnxPredictor, tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", np.tile(talk(*TALK), 12))
    analyze(path, predictor, split=TWO)  # what is loaded once
    tracemalloc.start()
    result = analyze(path, predictor, split=TWO)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64_000 * result.duration * 1.2 + 24e6
