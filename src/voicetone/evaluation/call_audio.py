"""The recording for a report's player: inside the page when it is short, else by relative path."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

from voicetone.audio.decode import open_audio
from voicetone.audio.resample import StreamResampler
from voicetone.audio.units import SAMPLE_RATE
from voicetone.errors import VoicetoneError
from voicetone.types import Floats

MOST_EMBEDDED = 15 * 60.0  # s
# Of libsndfile's scale, 40 kbit/s at 16 kHz. A constant rate, so that browsers jump exactly;
# MP3, because all of them play it.
COMPRESSION = 0.8


@dataclass(frozen=True, slots=True)
class Player:
    """What the page's audio element plays."""

    source: str
    embedded: bool


def player(audio: Path | None, duration: float, folder: Path) -> Player | None:
    """The player's source; None where there is no recording that it could play.

    Args:
        audio: the recording.
        duration: its length in seconds; up to `MOST_EMBEDDED` it goes into the page.
        folder: where the page will lie.
    """
    if audio is None or not audio.is_file():
        return None
    if duration > MOST_EMBEDDED:
        return _linked(audio, folder)
    try:
        data = _mp3(audio)
    except (VoicetoneError, OSError, RuntimeError):  # headerless, or no MP3 in this libsndfile
        return None
    return Player(f"data:audio/mpeg;base64,{base64.b64encode(data).decode('ascii')}", True)


def _linked(audio: Path, folder: Path) -> Player | None:
    try:
        relative = os.path.relpath(audio.resolve(), folder.resolve())
    except ValueError:  # on another drive
        return None
    parts = Path(relative).as_posix()
    return Player(quote_from_bytes(os.fsencode(parts), safe="/"), False)


def _mp3(audio: Path) -> bytes:
    import soundfile

    out = io.BytesIO()
    with open_audio(audio) as source:
        resampler = StreamResampler(source.rate, source.channels)
        with soundfile.SoundFile(
            out,
            "w",
            samplerate=SAMPLE_RATE,
            channels=source.channels if source.channels <= 2 else 1,
            format="MP3",
            subtype="MPEG_LAYER_III",
            compression_level=COMPRESSION,
            bitrate_mode="CONSTANT",
        ) as sound:
            for block in source.blocks():
                sound.write(_heard(resampler.push(block)))
            sound.write(_heard(resampler.flush()))
    return out.getvalue()


def _heard(block: Floats) -> Floats:
    """`[channels, n]` → `[n, 1 or 2]`: more than two channels are mixed into one."""
    mixed = block if len(block) <= 2 else block.mean(axis=0, keepdims=True)
    return mixed.T.clip(-1.0, 1.0)
