"""What goes in comes out: formats, codings, pipes, and every cutting into blocks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voicetone.audio import RawFormat, StreamResampler, decode, open_audio, read_audio
from voicetone.audio.telephony import alaw_encode, mulaw_encode, s16le_encode
from voicetone.errors import AudioError, UsageError

# format, subtype, largest error of a sample (0.5 steps of the coding; None: lossy)
LOSSLESS = [
    ("WAV", "PCM_U8", 1 / 128),
    ("WAV", "PCM_16", 1 / 32768),
    ("WAV", "PCM_24", 1e-6),
    ("WAV", "PCM_32", 1e-6),
    ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 0),
    ("WAVEX", "PCM_16", 1 / 32768),
    ("RF64", "PCM_16", 1 / 32768),
    ("W64", "PCM_16", 1 / 32768),
    ("AIFF", "PCM_16", 1 / 32768),
    ("AU", "PCM_16", 1 / 32768),
    ("CAF", "PCM_16", 1 / 32768),
    ("CAF", "ALAC_16", 1 / 32768),
    ("NIST", "PCM_16", 1 / 32768),
    ("FLAC", "PCM_16", 1 / 32768),
    ("FLAC", "PCM_24", 1e-6),
]
LOSSY = [
    ("WAV", "ULAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "GSM610"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


def voice(frames: int, channels: int, seed: int = 0) -> np.ndarray:
    """Smooth noise within ±0.9, `[frames, channels]`."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.standard_normal((frames, channels)), axis=0)
    x -= np.linspace(x[0], x[-1], frames)
    return (0.9 * x / max(1e-9, np.abs(x).max())).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("decode")


@pytest.mark.parametrize(("container", "subtype", "error"), LOSSLESS)
def test_lossless_formats_give_back_what_was_written(
    folder: Path, container: str, subtype: str, error: float
) -> None:
    path, x = folder / f"{container}-{subtype}.bin", voice(5_000, 2)
    soundfile.write(path, x, 22_050, format=container, subtype=subtype)
    with open_audio(path) as source:
        assert (source.rate, source.channels, source.frames) == (22_050, 2, 5_000)
        assert source.duration == 5_000 / 22_050
        y = np.concatenate(list(source.blocks(0.05)), axis=1)
    assert y.dtype == np.float32
    assert y.shape == (2, 5_000)
    np.testing.assert_allclose(y, x.T, atol=error + 1e-9, rtol=0)


@pytest.mark.parametrize(("container", "subtype"), LOSSY)
def test_lossy_formats_are_read_in_blocks_as_in_one_piece(
    folder: Path, container: str, subtype: str
) -> None:
    path = folder / f"{container}-{subtype}.bin"
    soundfile.write(path, voice(40_000, 1), 16_000, format=container, subtype=subtype)
    whole, _ = soundfile.read(path, dtype="float32")
    with open_audio(path) as source:
        y = np.concatenate(list(source.blocks(0.0371)), axis=1)
        assert source.frames == y.shape[1]
    assert y.shape[1] == pytest.approx(40_000, abs=1_024)
    np.testing.assert_allclose(y[0], whole, atol=1e-6, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([(c, s, e) for c, s, e in LOSSLESS if s != "ALAC_16"]),
    frames=st.integers(1, 3_000),
    channels=st.integers(1, 8),
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000, 192_000]),
    cuts=st.lists(st.floats(1e-5, 0.2), min_size=1, max_size=12),
    seed=st.integers(0, 2**16),
)
def test_any_walk_through_a_file_gives_the_same_samples(
    folder: Path,
    kind: tuple[str, str, float],
    frames: int,
    channels: int,
    rate: int,
    cuts: list[float],
    seed: int,
) -> None:
    container, subtype, error = kind
    path, x = folder / "any.bin", voice(frames, channels, seed)
    soundfile.write(path, x, rate, format=container, subtype=subtype)
    got = []
    with open_audio(path) as source:
        for seconds in cuts:
            got.append(next(source.blocks(seconds), np.zeros((channels, 0), np.float32)))
            assert got[-1].shape[1] <= max(1, round(seconds * rate))
        got += source.blocks(0.01)
        assert source.position == frames
    np.testing.assert_allclose(np.concatenate(got, axis=1), x.T, atol=error + 1e-9, rtol=0)


def test_blocks_are_of_one_size_but_for_the_last(folder: Path) -> None:
    soundfile.write(folder / "even.wav", voice(2_500, 1), 8_000)
    with open_audio(folder / "even.wav") as source:
        assert [b.shape[1] for b in source.blocks(0.125)] == [1_000, 1_000, 500]
    with open_audio(folder / "even.wav") as source:
        assert [b.shape[1] for b in source.blocks(0.15625)] == [1_250, 1_250]


def test_blocks_stay_small_however_long_they_are_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "BLOCK_SAMPLES", 4_096)
    soundfile.write(folder / "wide.wav", voice(5_000, 8), 16_000)
    with open_audio(folder / "wide.wav") as source:
        assert max(b.size for b in source.blocks(1e9)) == 4_096


def test_blocks_can_be_kept(folder: Path) -> None:
    soundfile.write(folder / "keep.wav", x := voice(3_000, 2), 8_000, subtype="FLOAT")
    with open_audio(folder / "keep.wav") as source:
        blocks = list(source.blocks(0.1))
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), x.T)


def test_float_samples_beyond_full_scale_are_kept(folder: Path) -> None:
    x = np.array([[0.5], [-3.0], [1.25]], np.float32)
    soundfile.write(folder / "loud.wav", x, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(folder / "loud.wav").samples, x.T)


@pytest.mark.parametrize("frames", [1, 2, 799])
def test_the_shortest_audio_is_audio(folder: Path, frames: int) -> None:
    soundfile.write(folder / "short.wav", np.full(frames, 0.5), 8_000)
    wave = read_audio(folder / "short.wav")
    assert wave.samples.shape == (1, frames)
    assert wave.duration == frames / 8_000


def test_the_name_is_no_evidence(folder: Path) -> None:
    soundfile.write(folder / "a.raw", voice(100, 1), 16_000, format="FLAC")
    assert read_audio(folder / "a.raw").samples.shape == (1, 100)


def test_audio_of_unknown_length(folder: Path) -> None:
    """A WAV header as ffmpeg writes it into a pipe: all lengths are 0xFFFFFFFF."""
    soundfile.write(folder / "pipe.wav", x := voice(300, 1), 8_000, subtype="PCM_16")
    data = bytearray((folder / "pipe.wav").read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff\xff\xff\xff"
    (folder / "pipe.wav").write_bytes(data)
    np.testing.assert_allclose(read_audio(folder / "pipe.wav").samples, x.T, atol=1e-4)


def test_an_mp3_stream_has_no_length_but_is_read(folder: Path) -> None:
    """Without its first frame, which holds the Xing header, an MP3 file is a bare stream. The
    length that libsndfile guesses for this one is about half, and there it would stop."""
    soundfile.write(folder / "x.mp3", voice(32_000, 1), 16_000, format="MP3")
    data = (folder / "x.mp3").read_bytes()
    (folder / "stream.mp3").write_bytes(data[data.index(data[:2], 100) :])
    with open_audio(folder / "stream.mp3") as source:
        assert source.frames is None
        assert 0 <= sum(b.shape[1] for b in source.blocks(0.3)) - 32_000 <= 3 * 576


ENCODERS = {
    "s16le": s16le_encode,
    "mulaw": lambda x: mulaw_encode(x).tobytes(),
    "alaw": lambda x: alaw_encode(x).tobytes(),
}


@pytest.mark.parametrize(("encoding", "error"), [("s16le", 1e-4), ("mulaw", 0.02), ("alaw", 0.02)])
@pytest.mark.parametrize("channels", [1, 3])
def test_headerless_audio(folder: Path, encoding: str, error: float, channels: int) -> None:
    x = voice(2_000, channels)
    (folder / "x.raw").write_bytes(ENCODERS[encoding](x))
    raw = RawFormat(encoding, 8_000, channels)  # type: ignore[arg-type]
    with open_audio(folder / "x.raw", raw) as source:
        assert (source.rate, source.channels, source.frames) == (8_000, channels, 2_000)
        y = np.concatenate(list(source.blocks(0.033)), axis=1)
    np.testing.assert_allclose(y, x.T, atol=error)


class Trickle(io.RawIOBase):
    """A pipe that gives what it has, a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = 1

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        self.size = min(self.size % 997 + 1, count)
        out, self.data = self.data[: self.size], self.data[self.size :]
        return out


def pipe_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    class Stdin:
        buffer = Trickle(data)

    monkeypatch.setattr("sys.stdin", Stdin)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG"])
def test_a_container_through_standard_input(
    folder: Path, monkeypatch: pytest.MonkeyPatch, container: str
) -> None:
    path = folder / "piped.bin"
    soundfile.write(path, voice(9_000, 2), 16_000, format=container)
    pipe_in(monkeypatch, path.read_bytes())
    np.testing.assert_array_equal(read_audio("-").samples, read_audio(path).samples)


def test_headerless_audio_through_standard_input_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = voice(4_000, 2)
    pipe_in(monkeypatch, s16le_encode(x))
    monkeypatch.setattr(decode, "_spool", None)
    with open_audio(Path("-"), RawFormat("s16le", 8_000, 2)) as source:
        assert source.frames is None
        y = np.concatenate(list(source.blocks(0.1)), axis=1)
    np.testing.assert_allclose(y, x.T, atol=1e-4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe(folder: Path) -> None:
    soundfile.write(folder / "x.wav", voice(1_000, 1), 16_000)
    os.mkfifo(folder / "fifo")
    data = (folder / "x.wav").read_bytes()
    writer = threading.Thread(target=(folder / "fifo").write_bytes, args=(data,))
    writer.start()
    try:
        assert read_audio(folder / "fifo").samples.shape == (1, 1_000)
    finally:
        writer.join()


def test_a_pipe_is_kept_only_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "SPOOL_BYTES", 2_000)
    pipe_in(monkeypatch, bytes(2_001))
    with pytest.raises(AudioError, match=r"^standard input: more than .* save it to a file"):
        open_audio("-")


def test_nothing_stays_open(folder: Path) -> None:
    """An unclosed file would be a ResourceWarning, and warnings are errors here."""
    soundfile.write(folder / "open.wav", voice(100, 1), 16_000)
    source = open_audio(folder / "open.wav")
    source.close()
    source.close()
    with pytest.raises(AudioError):
        list(source.blocks())


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "says"),
    [
        ("mp3", 8_000, 1, "'mp3' is not known: use s16le, mulaw, alaw"),
        ("alaw", 4_000, 1, "4000 Hz"),
        ("alaw", 8_000, 9, "9 channels"),
        ("alaw", 8_000, 0, "0 channels"),
    ],
)
def test_impossible_headerless_formats(encoding: str, rate: int, channels: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        RawFormat(encoding, rate, channels)  # type: ignore[arg-type]


@pytest.mark.parametrize("hours", [0.5, 2])
def test_memory_does_not_grow_with_length(folder: Path, hours: float) -> None:
    path = folder / "long.wav"
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        for _ in range(round(hours * 6)):
            file.write(np.zeros(8_000 * 600, np.int16))
    tracemalloc.start()
    try:
        with open_audio(path) as source:
            resampler = StreamResampler(source.rate, source.channels)
            frames = sum(resampler.push(block).shape[1] for block in source.blocks())
            frames += resampler.flush().shape[1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    path.unlink()
    assert frames == hours * 3_600 * 16_000
    assert peak < 8e6  # bytes; a block of 10 s before and after resampling is 1 MB


def test_what_reading_needs_is_imported_when_it_is_needed() -> None:
    code = "import sys, voicetone.audio; print({'soundfile', 'soxr', 'tempfile'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def real_calls() -> list[Path]:
    root = os.environ.get("VOICETONE_DATA")
    return sorted(Path(root, "calls", "audio").iterdir()) if root else []


@pytest.mark.realdata
def test_real_calls_are_read_whole() -> None:
    calls = real_calls()
    if not calls:
        pytest.skip("VOICETONE_DATA is not set: no real calls to read")
    for path in calls:
        with open_audio(path) as source:
            frames = sum(b.shape[1] for b in source.blocks())
            assert frames == source.frames == soundfile.info(path).frames
