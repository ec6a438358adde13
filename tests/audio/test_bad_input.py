"""Everything that can't be analysed gets one line: which file, what is wrong, what to do."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voicetone.audio import RawFormat, decode, open_audio, read_audio
from voicetone.errors import AudioError


@contextmanager
def refused(path: Path, says: str) -> Iterator[None]:
    """The one line begins with the file, says what, and ends with a way out."""
    with pytest.raises(AudioError, match=says) as caught:
        yield
    line = str(caught.value)
    assert line.startswith(f"{path}: "), line
    assert line.isprintable(), line
    assert len(line.removeprefix(f"{path}: ").rpartition(": ")[2]) > 10, line


def noise(seconds: float = 2.0, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 0.1 * rng.standard_normal((int(seconds * 16_000), channels))


def wav(rate: int, channels: int, data: bytes, promised: int | None = None) -> bytes:
    length = len(data) if promised is None else promised
    form = struct.pack(
        "<IHHIIHH", 16, 1, channels, rate, rate * channels * 2 % 2**32, channels * 2, 16
    )
    head = b"RIFF" + struct.pack("<I", min(36 + length, 2**32 - 1)) + b"WAVEfmt " + form
    return head + b"data" + struct.pack("<I", length) + data


def test_missing(tmp_path: Path) -> None:
    with refused(path := tmp_path / "gone.wav", "no such file: check the path"):
        open_audio(path)


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(AudioError, match=r"^a\\x00b\.wav: no such file"):
        open_audio("a\0b.wav")


def test_a_file_taken_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with refused(path := tmp_path / "a.wav" / "b.wav", "no such file"):
        open_audio(path)


def test_a_folder(tmp_path: Path) -> None:
    with refused(tmp_path, "no audio in this folder .*: name the files"):
        open_audio(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs file permissions")
@pytest.mark.parametrize("folder", [False, True])
def test_no_permission(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "secret.wav"
    if folder:
        path.mkdir(mode=0)
    else:
        path.write_bytes(wav(16_000, 1, bytes(100)))
        path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # to whom permissions mean something
    try:
        with refused(path, "permission denied: ask for the right"):
            open_audio(path)
    finally:
        if root:
            os.seteuid(0)


def test_empty(tmp_path: Path) -> None:
    (path := tmp_path / "empty.wav").write_bytes(b"")
    with refused(path, "empty, 0 bytes"):
        open_audio(path)


def test_text_with_the_name_of_audio(tmp_path: Path) -> None:
    (path := tmp_path / "text.wav").write_text("this is no audio\n" * 100)
    with refused(path, r"no sound file .* ffmpeg -i IN OUT\.wav"):
        open_audio(path)


def test_headerless_audio_without_a_format(tmp_path: Path) -> None:
    (path := tmp_path / "call.ulaw").write_bytes(b"\xff" * 1_000)
    with refused(path, "headerless audio: .* --encoding, --rate and --channels"):
        open_audio(path)


@pytest.mark.parametrize("rate", [1, 7_999, 192_001, 2**31 - 1])
def test_rates_outside_the_limits(tmp_path: Path, rate: int) -> None:
    (path := tmp_path / "rate.wav").write_bytes(wav(rate, 1, bytes(1_000)))
    with refused(path, f"sampled at {rate} Hz, outside 8000-192000 Hz"):
        open_audio(path)


@pytest.mark.parametrize("rate", [0, 4_000_000_000])
def test_impossible_rates(tmp_path: Path, rate: int) -> None:
    (path := tmp_path / "rate.wav").write_bytes(wav(rate, 1, bytes(1_000)))
    with refused(path, "an impossible rate or number of channels"):
        open_audio(path)


@pytest.mark.parametrize("rate", [8_000, 192_000])
@pytest.mark.parametrize("channels", [1, 8])
def test_the_limits_themselves_are_accepted(tmp_path: Path, rate: int, channels: int) -> None:
    (tmp_path / "x.wav").write_bytes(wav(rate, channels, bytes(1_600)))
    assert read_audio(tmp_path / "x.wav").sample_rate == rate


@pytest.mark.parametrize("channels", [9, 32])
def test_too_many_channels(tmp_path: Path, channels: int) -> None:
    (path := tmp_path / "wide.wav").write_bytes(wav(16_000, channels, bytes(channels * 200)))
    with refused(path, f"{channels} channels, outside 1-8: keep those with speech"):
        open_audio(path)


@pytest.mark.parametrize("channels", [0, 2_000])
def test_an_impossible_number_of_channels(tmp_path: Path, channels: int) -> None:
    (path := tmp_path / "wide.wav").write_bytes(wav(16_000, channels, bytes(8_000)))
    with refused(path, "hannel"):
        open_audio(path)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "W64", "AU", "CAF", "OGG"])
def test_a_container_without_samples(tmp_path: Path, container: str) -> None:
    path = tmp_path / "none.bin"
    soundfile.write(path, np.zeros((0, 1)), 16_000, format=container)
    with refused(path, "no samples in it|truncated"):
        read_audio(path)


def test_a_stream_without_samples(tmp_path: Path) -> None:
    """A FLAC header that says neither how long it is nor that it is empty."""
    about = struct.pack(">HH6xQ16x", 4096, 4096, 16_000 << 44 | 15 << 36)
    (path := tmp_path / "none.flac").write_bytes(b"fLaC\x80\0\0\x22" + about)
    with refused(path, "no samples in it|damaged"):
        read_audio(path)


def test_a_recording_whose_header_was_never_finished(tmp_path: Path) -> None:
    (path := tmp_path / "killed.wav").write_bytes(wav(16_000, 1, bytes(9_000), promised=0))
    with refused(path, "no samples in it, a header only"):
        open_audio(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_no_numbers(tmp_path: Path, bad: float, subtype: str) -> None:
    x = noise(2.0, 2)
    x[24_000, 1] = bad
    soundfile.write(path := tmp_path / "nan.wav", x, 16_000, subtype=subtype)
    with refused(path, r"NaN or infinite samples at 1\.500 s, channel 2"):
        read_audio(path)
    with open_audio(path) as source, refused(path, r"at 1\.500 s"):
        list(source.blocks(0.0625))
    assert source.position == 24_000  # all before it was given out


# Whatever fails when it is opened or when it is read to the end.
TRUNCATED = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "IMA_ADPCM"),
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("NIST", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(("container", "subtype"), TRUNCATED)
@pytest.mark.parametrize("kept", [0.97, 0.6, 0.3])
def test_truncated(tmp_path: Path, container: str, subtype: str, kept: float) -> None:
    soundfile.write(path := tmp_path / "x", noise(), 16_000, format=container, subtype=subtype)
    assert read_audio(path).duration == pytest.approx(2.0, abs=0.05)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with refused(path, "truncated|damaged"):
        read_audio(path)


def test_truncated_says_how_much_is_missing(tmp_path: Path) -> None:
    (path := tmp_path / "x.wav").write_bytes(wav(16_000, 1, bytes(10_000), promised=30_000))
    with refused(path, r"truncated, 10044 of 30044 bytes are there: copy it again"):
        open_audio(path)


def test_a_header_that_counts_itself_is_forgiven(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(wav(16_000, 1, bytes(10_000), promised=10_044))
    assert read_audio(tmp_path / "x.wav").samples.shape == (1, 5_000)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
)
def test_broken_in_the_middle(tmp_path: Path, container: str, subtype: str) -> None:
    x = noise(8.0)
    soundfile.write(path := tmp_path / "x", x, 16_000, format=container, subtype=subtype)
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    data[half : half + 4_000] = np.random.default_rng(1).bytes(4_000)
    path.write_bytes(data)
    with refused(path, "damaged"):
        read_audio(path)


def test_a_download_that_was_given_its_size_beforehand(tmp_path: Path) -> None:
    soundfile.write(path := tmp_path / "x.ogg", noise(4.0), 16_000, format="OGG")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    with refused(path, "truncated"):
        open_audio(path)


def test_headerless_audio_that_ends_inside_a_sample(tmp_path: Path) -> None:
    (path := tmp_path / "x.raw").write_bytes(bytes(1_001))
    with refused(path, "ends inside a sample of 4 bytes"):
        open_audio(path, RawFormat("s16le", 8_000, 2))


def test_empty_headerless_audio(tmp_path: Path) -> None:
    (path := tmp_path / "x.raw").write_bytes(b"")
    with refused(path, "empty"):
        open_audio(path, RawFormat("mulaw", 8_000))


def test_a_header_where_there_should_be_none(tmp_path: Path) -> None:
    """It would be heard as noise."""
    (path := tmp_path / "x.wav").write_bytes(wav(8_000, 1, bytes(1_000)))
    with refused(path, "has a header.*: leave out --encoding"):
        read_audio(path, RawFormat("s16le", 8_000))


def test_an_empty_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = open(os.devnull, "rb")  # noqa: SIM115 - closed below

    monkeypatch.setattr("sys.stdin", Stdin)
    with refused(Path("standard input"), "empty"):
        open_audio("-")
    with refused(Path("standard input"), "no samples"):
        read_audio("-", RawFormat("mulaw", 8_000))
    Stdin.buffer.close()


def test_headerless_audio_that_ends_inside_a_sample_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stdin:
        buffer = io.BytesIO(bytes(1_001))

    monkeypatch.setattr("sys.stdin", Stdin)
    with refused(Path("standard input"), "ends inside a sample of 2 bytes"):
        read_audio("-", RawFormat("s16le", 8_000))


class Failing(io.BytesIO):
    """A disk that gives up in the middle."""

    def read(self, count: int | None = -1) -> bytes:
        if self.tell() > 30_000:
            raise OSError(5, "Input/output error")
        return super().read(count)


@pytest.mark.parametrize("raw", [None, RawFormat("alaw", 16_000)])
def test_a_disk_that_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    raw: RawFormat | None,
) -> None:
    data = wav(16_000, 1, bytes(64_000)) if raw is None else bytes(64_000)
    path, file = tmp_path / "x.wav", Failing(data)
    monkeypatch.setattr(decode, "_open", lambda *_: (file, len(data)))
    failing = refused(path, r"damaged after \d\.\d\d s \(Input/output error\)")
    with failing, open_audio(path, raw) as source:
        list(source.blocks(0.1))
    assert capfd.readouterr().err == ""


def test_libsndfile_may_ask_for_the_impossible() -> None:
    handle = decode._Handle(io.BytesIO(b"abc"))
    handle.seek(-5, os.SEEK_CUR)
    handle.seek(-5)
    assert handle.tell() == 0


def test_no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with refused(Path("standard input"), "there is none"):
        open_audio("-")


def test_names_are_printed_on_one_line(tmp_path: Path) -> None:
    for name in ("two\nlines.wav", "\x1b[31mred.wav", "broken\udcff.wav"):
        with pytest.raises(AudioError) as caught:
            open_audio(tmp_path / name)
        assert str(caught.value).isprintable()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    path, out = tmp_path_factory.mktemp("fuzz") / "x", []
    for container, subtype in TRUNCATED:
        if container != "MP3":  # mpg123 writes notes of its own to standard error
            soundfile.write(path, noise(0.2), 16_000, format=container, subtype=subtype)
            out.append(path.read_bytes())
    return out


@settings(max_examples=150, deadline=None)
@given(
    which=st.integers(0, 12),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=8),
    kept=st.floats(0, 1),
)
@example(which=7, changes=[], kept=0.001)  # less than a header
@example(which=9, changes=[], kept=0.001)
@example(which=5, changes=[(63, 0x3F)], kept=1.0)  # a W64 chunk of nearly 2**62 bytes
def test_no_header_brings_anything_else_down(
    samples: list[bytes],
    tmp_path_factory: pytest.TempPathFactory,
    which: int,
    changes: list[tuple[int, int]],
    kept: float,
) -> None:
    data = bytearray(samples[which])
    for at, byte in changes:
        data[min(at, len(data) - 1)] = byte
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(data[: int(kept * len(data))])
    try:
        with open_audio(path) as source:
            assert all(np.isfinite(b).all() for b in source.blocks(0.05))
    except AudioError as caught:
        error = caught
    else:
        return
    assert str(error).startswith(str(path))
    assert str(error).isprintable()
