"""What a client says of a call when it begins, and where the server is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.telephony import mulaw_encode, s16le_encode
from voicetone.errors import UsageError

Encoding = Literal["s16le", "mulaw"]
Sound = bytes | bytearray | memoryview | NDArray[Any]
Speaker = str | Mapping[int, str]
"""Whose voice it is: `auto`, `none`, the id of an enrolled voice, or such ids by channel."""
SAMPLE_BYTES: Mapping[Encoding, int] = {"s16le": 2, "mulaw": 1}


class Options(TypedDict, total=False):
    """The keyword arguments of `AsyncStream.open` and `Stream.open` that may be left out."""

    key: str | None
    encoding: Encoding
    channels: int
    channel_names: Sequence[str] | None
    analyse: Sequence[int] | None
    call: str | None
    queue: str | None
    metadata: Mapping[str, str] | None
    speaker: Speaker | None
    keep_seconds: float
    patience: float | None


@dataclass(frozen=True, slots=True)
class Start:
    """`session.start`.

    Args:
        sample_rate: Hz.
        consent: that those who are heard have been told and agreed.
        encoding: of what is sent.
        channels: interleaved in it.
        channel_names: one per channel.
        analyse: channels to analyse, from 1.
        call: the caller's own name of the call.
        queue: where the call came in.
        metadata: anything else.
        speaker: whose voice it is.

    Raises:
        UsageError: an encoding or number of channels that can't be.
    """

    sample_rate: int
    consent: bool
    encoding: Encoding = "s16le"
    channels: int = 1
    channel_names: Sequence[str] | None = None
    analyse: Sequence[int] | None = None
    call: str | None = None
    queue: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    speaker: Speaker | None = None

    def __post_init__(self) -> None:
        if self.encoding not in SAMPLE_BYTES:
            raise UsageError(f"encoding {self.encoding!r} can't be streamed: use s16le or mulaw")
        if self.channels < 1 or self.sample_rate < 1:
            raise UsageError("a stream has a sampling rate and 1 or 2 channels: give these")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return SAMPLE_BYTES[self.encoding] * self.channels

    def message(self) -> dict[str, Any]:
        """The JSON object."""
        said: dict[str, Any] = {
            "type": "session.start",
            "sample_rate": self.sample_rate,
            "encoding": self.encoding,
            "channels": self.channels,
            "consent": self.consent,
        }
        lists = {"channel_names": self.channel_names, "analyse": self.analyse}
        said |= {key: list(value) for key, value in lists.items() if value is not None}
        words = {"call": self.call, "queue": self.queue}
        said |= {key: value for key, value in words.items() if value is not None}
        said |= {} if self.speaker is None else {"speaker": _speaker(self.speaker)}
        return said | ({"metadata": dict(self.metadata)} if self.metadata else {})

    def encoded(self, sound: Sound) -> memoryview:
        """Audio as it is sent.

        Args:
            sound: bytes in the stream's encoding, or an array `[channels, n]` (`[n]` for one
                channel): float with full scale ±1, or int16.

        Raises:
            UsageError: an array of another shape or type, or bytes that end inside a sample.
            AudioError: NaN or infinite samples.
        """
        if isinstance(sound, np.ndarray):
            return memoryview(self._of_array(sound))
        view = memoryview(sound).cast("B")
        if len(view) % self.frame_bytes:
            raise UsageError(
                f"{len(view)} bytes end inside a sample of all channels: "
                f"send a multiple of {self.frame_bytes}"
            )
        return view

    def _of_array(self, sound: NDArray[Any]) -> bytes:
        if sound.ndim == 1 and self.channels == 1:
            sound = sound[None]
        if sound.ndim != 2 or sound.shape[0] != self.channels:
            raise UsageError(
                f"an array of shape {list(sound.shape)}: send [channels, n] with "
                f"{self.channels} channels"
            )
        if sound.dtype == np.int16:
            sound = sound.astype(np.float32) / 32768
        if sound.dtype.kind != "f":
            raise UsageError(f"an array of {sound.dtype}: send float of full scale ±1, or int16")
        mixed = np.ascontiguousarray(sound.T, dtype=np.float32).ravel()
        return s16le_encode(mixed) if self.encoding == "s16le" else mulaw_encode(mixed).tobytes()


def speaker_words(speaker: Speaker) -> str:
    """As a field of a form has it."""
    if isinstance(speaker, str):
        return speaker
    return ",".join(f"{channel}={id}" for channel, id in speaker.items())


def _speaker(speaker: Speaker) -> Any:
    """As `session.start` has it."""
    if not isinstance(speaker, str):
        return {str(channel): {"voice": id} for channel, id in speaker.items()}
    return speaker if speaker in ("auto", "none") else {"voice": speaker}


def stream_address(url: str) -> str:
    """The WebSocket's address below a server's, which may begin with http, https, ws or wss.

    Raises:
        UsageError: no such address.
    """
    return _below(url, "/v1/stream", web=False)


def http_address(url: str, path: str) -> str:
    """The address of a path (`/v1/…`) below a server's.

    Raises:
        UsageError: no such address.
    """
    return _below(url, path, web=True)


def _below(url: str, path: str, web: bool) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no number
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise UsageError(f"{url!r} is no server's address: give one such as http://127.0.0.1:8765")
    if parts.username is not None or parts.query:
        raise UsageError("an address with a password or a query: give the key as key= instead")
    secure = parts.scheme in ("https", "wss")
    scheme = ("https" if secure else "http") if web else ("wss" if secure else "ws")
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}{path}"
