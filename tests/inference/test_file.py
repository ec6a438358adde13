from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.inference.sounds import analyse, assert_same, call, currents, noise, silence, windows

from voicetone.audio.decode import RawFormat
from voicetone.errors import AudioError, UsageError
from voicetone.inference.file import Overview, analyze
from voicetone.inference.live import OverallEvent, SpeechEvent
from voicetone.pretrained import OnnxPredictor
from voicetone.types import FileResult, Floats


def _write(path: Path, samples: Floats, rate: int = 16000) -> Path:
    soundfile.write(path, np.atleast_2d(samples).T, rate, subtype="FLOAT")
    return path


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_file_gives_what_a_live_call_gives(
    predictor: OnnxPredictor, tmp_path: Path, rate: int
) -> None:
    sound = call(rate, [(20.0, True), (15.0, False), (46.3, True)], 2, 3)
    result = analyze(_write(tmp_path / "call.wav", sound, rate), predictor)
    events = analyse(predictor, sound, rate, range(rate // 10, sound.shape[1], rate // 10))
    assert [c.channel for c in result.channels] == [1, 2]
    for channel in result.channels:
        number = channel.channel
        assert_same(list(channel.windows), windows(events, number))
        assert_same(list(channel.current), currents(events, number))
        turns = [e.segment for e in events if isinstance(e, SpeechEvent) and e.channel == number]
        assert list(channel.speech) == turns
        ends = [e.overall for e in events if isinstance(e, OverallEvent) and e.channel == number]
        assert_same([channel.overall], ends)
    assert len(result.channels[0].windows) == 32


def test_the_record(predictor: OnnxPredictor, tmp_path: Path) -> None:
    path = _write(tmp_path / "call.wav", np.stack([noise(6.0), silence(6.0)]))
    result = analyze(str(path), predictor, names=["left", "right"])
    assert (result.file, result.duration, result.model) == (str(path), 6.0, "toy 0.1.0")
    assert [(c.channel, c.name, c.flags) for c in result.channels] == [
        (1, "left", ()),
        (2, "right", ("silent",)),
    ]
    assert result.flags == ("silent",)
    again = FileResult.from_dict(result.to_dict())
    assert again.to_dict() == result.to_dict()


def test_a_file_without_speech(predictor: OnnxPredictor, tmp_path: Path) -> None:
    result = analyze(_write(tmp_path / "quiet.wav", silence(12.0)), predictor)
    (channel,) = result.channels
    assert not any(w.speech for w in channel.windows)
    assert (channel.current, channel.speech) == ((), ())
    overall = channel.overall
    assert (overall.label, overall.confidence, overall.sentiment) == (None, None, None)


def test_channels(predictor: OnnxPredictor, tmp_path: Path) -> None:
    path = _write(tmp_path / "call.wav", np.stack([noise(6.0), noise(6.0, seed=1)]))
    names = ["agent", "customer"]
    assert [c.channel for c in analyze(path, predictor, names=names).channels] == [2]
    both = analyze(path, predictor, names=names, channels=[1, 2])
    assert [c.name for c in both.channels] == names
    with pytest.raises(UsageError, match=r"call.wav: there is no channel 3"):
        analyze(path, predictor, channels=[3])
    with pytest.raises(UsageError, match=r"call.wav: 1 channel name for 2"):
        analyze(path, predictor, names=["agent"])


def test_progress(predictor: OnnxPredictor, tmp_path: Path) -> None:
    path = _write(tmp_path / "long.wav", noise(25.0))
    seen: list[tuple[float, float | None]] = []
    analyze(path, predictor, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(10.0, 25.0), (20.0, 25.0), (25.0, 25.0)]


def test_headerless_audio(predictor: OnnxPredictor, tmp_path: Path) -> None:
    sound = (noise(6.0, 8000) * 32768).astype("<i2")
    (tmp_path / "call.s16le").write_bytes(sound.tobytes())
    raw = RawFormat("s16le", 8000, 1)
    result = analyze(tmp_path / "call.s16le", predictor, raw=raw)
    wanted = windows(analyse(predictor, sound.astype(np.float32) / 32768, 8000))
    assert_same(list(result.channels[0].windows), wanted)


def test_the_outline_is_that_of_the_analysed_channels(
    predictor: OnnxPredictor, tmp_path: Path
) -> None:
    sound = np.stack([noise(40.0), noise(40.0, level=0.3)])
    path = _write(tmp_path / "call.wav", sound)
    overview = Overview()
    analyze(path, predictor, names=["agent", "customer"], overview=overview)
    peaks = overview.peaks()
    assert peaks.shape[0] == 1
    assert peaks[0, :, 0].min() == sound[1].min()
    assert peaks[0, :, 1].max() == sound[1].max()


def test_samples_beyond_any_scale(predictor: OnnxPredictor, tmp_path: Path) -> None:
    path = _write(tmp_path / "loud.wav", noise(2.0) * 32768)
    with pytest.raises(AudioError, match=r"loud.wav: samples reach .* where full scale is 1"):
        analyze(path, predictor)


def test_memory_stays_flat(predictor: OnnxPredictor, tmp_path: Path) -> None:
    """Beside the result itself, a file ten times as long takes no more."""
    peaks = []
    for minutes in (2, 20):
        sound = np.tile(noise(60.0, 8000), minutes)
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, sound, 8000, subtype="PCM_16")
        del sound
        tracemalloc.start()
        try:
            result = analyze(path, predictor)
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        peaks.append(peak - held)
        del result
    assert peaks[1] <= peaks[0] * 1.1 + 200_000
