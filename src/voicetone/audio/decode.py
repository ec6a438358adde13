"""Sound files, headerless audio and standard input → blocks of float samples."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, get_args

import numpy as np

from voicetone.audio import telephony
from voicetone.audio.containers import extent
from voicetone.audio.find import RAW_SUFFIXES, STDIN, display, is_folder, no_audio_inside
from voicetone.audio.resample import check_limits
from voicetone.errors import AudioError, UsageError
from voicetone.types import Floats, Waveform

Encoding = Literal["s16le", "mulaw", "alaw"]

BLOCK_SECONDS = 10.0
BLOCK_SAMPLES = 2**21  # of all channels together: 8 MiB of float32, whatever the seconds asked for
SPOOL_BYTES = 2 * 2**30  # of a container from a pipe, which is kept in a temporary file
COPY_BYTES = 2**20

_NO_LENGTH = 2**62  # frames; libsndfile's word for a stream that doesn't tell
_MP3_SLACK = 2 * 1152  # frames: how far off its length mpg123 may be at the ends
_IMPOSSIBLE_HEADER = 24  # libsndfile's code

_DECODERS: dict[str, tuple[int, Callable[[Any], Floats]]] = {
    "s16le": (2, telephony.s16le_decode),
    "mulaw": (1, telephony.mulaw_decode),
    "alaw": (1, telephony.alaw_decode),
}
_CONTAINER_MARKS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b"ID3", b".snd", b"caff")


@dataclass(frozen=True, slots=True)
class RawFormat:
    """What headerless audio doesn't say of itself.

    Args:
        encoding: s16le, mulaw or alaw.
        rate: Hz.
        channels: interleaved channels.

    Raises:
        UsageError: an unknown encoding, or a rate or number of channels that is not accepted.
    """

    encoding: Encoding
    rate: int
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in get_args(Encoding):
            known = ", ".join(get_args(Encoding))
            raise UsageError(f"encoding {display(self.encoding)!r} is not known: use {known}")
        try:
            check_limits(self.rate, self.channels)
        except AudioError as error:
            raise UsageError(f"headerless audio: {error}") from None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return _DECODERS[self.encoding][0] * self.channels


class _Reader(Protocol):
    """Hands out the next frames, `[n, channels]`; fewer than asked for at the end only."""

    def read(self, frames: int) -> Floats: ...


class AudioSource:
    """Audio that is being read; a context manager. Made by `open_audio`.

    Attributes:
        name: what messages call it.
        rate: Hz.
        channels: number of channels.
        frames: samples per channel; None where the source doesn't tell.
    """

    def __init__(
        self,
        name: str,
        rate: int,
        channels: int,
        frames: int | None,
        reader: _Reader,
        closing: ExitStack,
    ) -> None:
        self.name = name
        self.rate = rate
        self.channels = channels
        self.frames = frames
        self.position = 0  # samples per channel given out so far
        self._reader = reader
        self._closing = closing

    def __enter__(self) -> AudioSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file. Standard input stays open."""
        self._closing.close()

    @property
    def duration(self) -> float | None:
        """Seconds, where the source tells."""
        return None if self.frames is None else self.frames / self.rate

    def blocks(self, seconds: float = BLOCK_SECONDS) -> Iterator[Floats]:
        """The samples in order, float32 `[channels, n]`; integer formats are scaled to ±1.

        All blocks but the last are of one size: `seconds`, or less where that many channels at
        that rate would fill more than `BLOCK_SAMPLES`. The source is read once: a second walk
        goes on where the first one stopped.

        Raises:
            AudioError: the audio breaks off or is damaged, or holds NaN or infinite samples.
        """
        most = BLOCK_SAMPLES // self.channels
        size = min(max(1, round(seconds * self.rate)), most)
        while True:
            try:
                block = self._reader.read(size)
            except AudioError:
                raise
            except Exception as error:  # of libsndfile or the system; there is no common root
                raise self._damaged(_reason(error)) from error
            if len(block):
                self._check_finite(block)
                self.position += len(block)
                yield block.T
            if len(block) < size:
                break
        if not self.position:
            raise AudioError(f"{self.name}: no samples in it: record or export it again")

    def _check_finite(self, block: Floats) -> None:
        finite = np.isfinite(block)
        if finite.all():
            return
        frame, channel = (int(i) for i in np.argwhere(~finite)[0])
        seconds = (self.position + frame) / self.rate
        raise AudioError(
            f"{self.name}: NaN or infinite samples at {seconds:.3f} s, channel {channel + 1}: "
            "repair or re-export it"
        )

    def _damaged(self, reason: str) -> AudioError:
        return AudioError(
            f"{self.name}: damaged after {self.position / self.rate:.2f} s ({reason}): "
            "copy or export it again"
        )


def open_audio(path: Path | str, raw: RawFormat | None = None) -> AudioSource:
    """Opens a sound file, or standard input where `path` is `-`, for reading in blocks.

    Anything libsndfile reads: WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF, CAF, W64, RF64, AU …
    A container that comes through a pipe is first copied to a temporary file that has no name.

    Args:
        path: a file, a pipe or `-`.
        raw: says that the audio is headerless and what it is made of.

    Raises:
        AudioError: it is missing, unreadable, empty, truncated, no audio, or outside the limits
            on rate and channels. The message is one line: which file, what is wrong, what to do.
    """
    name = "standard input" if Path(path) == STDIN else display(path)
    with ExitStack() as stack:
        file, size = _open(Path(path), name, stack)
        if raw is not None:
            source = _open_raw(name, file, size, raw, stack)
        else:
            if size is None:
                file, size = _spool(file, name, stack)
            source = _open_container(name, file, size, stack)
        source._closing = stack.pop_all()
        return source


def read_audio(path: Path | str, raw: RawFormat | None = None) -> Waveform:
    """The whole of a sound file at its own rate. Raises what `open_audio` and `blocks` raise."""
    with open_audio(path, raw) as source:
        blocks = list(source.blocks())
        return Waveform(np.concatenate(blocks, axis=1), source.rate)


def _open(path: Path, name: str, stack: ExitStack) -> tuple[BinaryIO, int | None]:
    """An open file and its size in bytes; None for a pipe."""
    if path == STDIN:
        if sys.stdin is None:
            raise AudioError(f"{name}: there is none: name a file")
        return sys.stdin.buffer, None
    try:
        if is_folder(path):
            next(path.iterdir(), None)  # raises where it must not be read
            raise AudioError(f"{name}: {no_audio_inside()}")
        file = stack.enter_context(path.open("rb"))
        status = os.fstat(file.fileno())
    except (OSError, ValueError) as error:
        raise _unopened(name, error) from error
    if not stat.S_ISREG(status.st_mode):
        return file, None
    if status.st_size == 0:
        raise AudioError(f"{name}: empty, 0 bytes: copy or record it again")
    return file, status.st_size


def _unopened(name: str, error: OSError | ValueError) -> AudioError:
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return AudioError(f"{name}: no such file: check the path")
    if isinstance(error, PermissionError):
        return AudioError(f"{name}: permission denied: ask for the right to read it")
    return AudioError(f"{name}: can't be opened ({_reason(error)}): check the path")


def _spool(stream: BinaryIO, name: str, stack: ExitStack) -> tuple[BinaryIO, int]:
    """A pipe's bytes in a temporary file, since most containers are not read front to back."""
    import tempfile

    file = stack.enter_context(tempfile.TemporaryFile(prefix="voicetone-"))  # noqa: SIM115
    size = 0
    try:
        while data := stream.read(COPY_BYTES):
            size += len(data)
            if size > SPOOL_BYTES:
                raise AudioError(
                    f"{name}: more than {SPOOL_BYTES / 2**30:g} GiB through a pipe: "
                    "save it to a file and name that"
                )
            file.write(data)
        file.flush()
    except OSError as error:
        raise AudioError(
            f"{name}: can't be read into a temporary file ({_reason(error)}): "
            "save it to a file and name that"
        ) from error
    if not size:
        raise AudioError(f"{name}: empty, 0 bytes: check what was to write to it")
    return file, size


class _ContainerReader:
    """Frames of an open `soundfile.SoundFile`."""

    def __init__(self, name: str, sound: Any, handle: _Handle, frames: int | None) -> None:
        self._name = name
        self._sound = sound
        self._handle = handle
        self._expected = 0 if frames is None else frames
        if sound.format == "MP3":
            self._expected -= _MP3_SLACK
        self._given = 0

    def read(self, frames: int) -> Floats:
        block: Floats = self._sound.read(frames, dtype="float32", always_2d=True)
        if self._handle.error:
            raise self._handle.error
        self._given += len(block)
        if len(block) < frames and self._given < self._expected:
            rate = self._sound.samplerate
            raise AudioError(
                f"{self._name}: damaged or truncated, {self._given / rate:.2f} s of "
                f"{self._sound.frames / rate:.2f} s can be read: copy or export it again"
            )
        return block


def _open_container(name: str, file: BinaryIO, size: int, stack: ExitStack) -> AudioSource:
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        """Read front to back: soundfile would else seek after each block, which is slow in
        compressed formats and fails in FLAC streams of unknown length."""

        def seekable(self) -> bool:
            return False

    reach = extent(file, size)
    if reach.truncated:
        raise AudioError(
            f"{name}: truncated, {reach.truncated}: copy it again, "
            "or keep what is there with ffmpeg -i IN OUT.wav"
        )
    file.seek(0)
    try:
        # By handle, not by name: an extension tells nothing, and .raw would be believed.
        handle = _Handle(file)
        sound = Forward(handle)
        guessed = sound.format == "MP3" and reach.end is None
        if guessed:
            # An MP3 stream: its length is reckoned from the file's size and the first frame's
            # rate, and libsndfile stops there. Under a size that no rate can explain it doesn't.
            sound.close()
            file.seek(0)
            handle = _Handle(file, stretched_to=64 * size)
            sound = Forward(handle)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: {_unread(name, error)}") from error
    stack.callback(sound.close)
    rate, channels = int(sound.samplerate), int(sound.channels)
    try:
        check_limits(rate, channels)
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from None
    if sound.frames == 0:
        raise AudioError(f"{name}: no samples in it, a header only: record or export it again")
    frames = int(sound.frames) if sound.frames < _NO_LENGTH and not guessed else None
    reader = _ContainerReader(name, sound, handle, frames)
    return AudioSource(name, rate, channels, frames, reader, stack)


class _Handle:
    """An open file as libsndfile is to see it: the bytes, not the name.

    What goes wrong must not leave these methods, which C calls: it is kept in `error`.
    """

    def __init__(self, file: BinaryIO, stretched_to: int = 0) -> None:
        self._file = file
        self._stretched_to = stretched_to
        self.tell = file.tell
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = 0) -> None:
        if (offset, whence) == (0, os.SEEK_END) and self._stretched_to:
            offset, whence = self._stretched_to, os.SEEK_SET
        # A damaged header may send libsndfile before the start; it will then read nonsense.
        with suppress(OSError, ValueError):
            self._file.seek(offset, whence)

    def read(self, count: int) -> bytes:
        try:
            return self._file.read(count)
        except OSError as error:
            self.error = error
            return b""


def _unread(name: str, error: Any) -> str:
    """What is wrong with a file that libsndfile won't open, and what to do."""
    suffix = Path(name).suffix.lower()
    if error.code == 1 and suffix in RAW_SUFFIXES:
        return "headerless audio: say what it is with --encoding, --rate and --channels"
    if error.code == 1:
        return "no sound file that can be read: convert it, e.g. ffmpeg -i IN OUT.wav"
    if error.code == _IMPOSSIBLE_HEADER:
        return "its header gives an impossible rate or number of channels: export it again"
    return f"damaged or truncated ({_reason(error)}): copy it again or convert it with ffmpeg"


def _reason(error: Exception) -> str:
    """The cause in few words, without the path that the system may add."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return display(str(text).removeprefix("Error : ").strip().rstrip(".") or type(error).__name__)


class _RawReader:
    """Frames of headerless audio."""

    def __init__(self, name: str, file: BinaryIO, raw: RawFormat) -> None:
        self._name = name
        self._file = file
        self._raw = raw
        self._start = True

    def read(self, frames: int) -> Floats:
        data = self._bytes(frames * self._raw.frame_bytes)
        if self._start and data.startswith(_CONTAINER_MARKS):
            raise AudioError(
                f"{self._name}: has a header, so it is not headerless: "
                "leave out --encoding, --rate and --channels"
            )
        self._start = False
        if len(data) % self._raw.frame_bytes:
            raise _ragged(self._name, self._raw)
        samples = _DECODERS[self._raw.encoding][1](data)
        return samples.reshape(-1, self._raw.channels)

    def _bytes(self, count: int) -> bytes:
        """This many bytes, fewer at the end only: a pipe gives what it has."""
        data = bytearray()
        while len(data) < count and (more := self._file.read(count - len(data))):
            data += more
        return bytes(data)


def _open_raw(
    name: str, file: BinaryIO, size: int | None, raw: RawFormat, stack: ExitStack
) -> AudioSource:
    if size is not None and size % raw.frame_bytes:
        raise _ragged(name, raw)
    frames = None if size is None else size // raw.frame_bytes
    return AudioSource(name, raw.rate, raw.channels, frames, _RawReader(name, file, raw), stack)


def _ragged(name: str, raw: RawFormat) -> AudioError:
    return AudioError(
        f"{name}: ends inside a sample of {raw.frame_bytes} bytes: "
        "it is truncated, or --encoding or --channels is not what it holds"
    )
