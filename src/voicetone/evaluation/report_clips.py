"""The recordings of the worst errors: in the page when they are short, else linked."""

from __future__ import annotations

import io
import os
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

import numpy as np

from voicetone.audio.decode import open_audio
from voicetone.audio.resample import StreamResampler
from voicetone.audio.units import SAMPLE_RATE
from voicetone.errors import VoicetoneError
from voicetone.evaluation.call_audio import COMPRESSION, Player
from voicetone.types import Floats

MOST_EMBEDDED = 30.0  # s
_SECTION = re.compile(r"#t=(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?$")


@dataclass(frozen=True, slots=True)
class Clip:
    """Part of a file, in seconds; `end` None is the file's end."""

    path: Path
    start: float
    end: float | None


def find_clip(audio: str, places: Sequence[Path]) -> Clip | None:
    """The recording that a table's `audio` names, None where it is not to be found.

    Args:
        audio: a path, perhaps with `#t=1.2,3.4` at its end.
        places: folders that a relative path may start from.
    """
    if not audio:
        return None
    section = _SECTION.search(audio)
    name = audio[: section.start()] if section else audio
    start = float(section[1]) if section else 0.0
    end = float(section[2]) if section and section[2] else None
    for place in places:  # an absolute path stays itself
        path = place / name
        if path.is_file():
            return Clip(path, start, end)
    return None


def clip_player(clip: Clip, folder: Path) -> Player | None:
    """What an audio element plays of a clip; None where it can't be read.

    Args:
        clip: the part of a recording.
        folder: where the page will lie.
    """
    try:
        samples = _samples(clip)
    except (VoicetoneError, OSError, RuntimeError):
        return None
    if samples is not None:
        data = b64encode(_mp3(samples)).decode("ascii")
        return Player(f"data:audio/mpeg;base64,{data}", True)
    try:
        relative = os.path.relpath(clip.path.resolve(), folder.resolve())
    except ValueError:  # on another drive
        return None
    address = quote_from_bytes(os.fsencode(Path(relative).as_posix()), safe="/")
    end = "" if clip.end is None else f",{clip.end:g}"
    section = f"#t={clip.start:g}{end}" if clip.start or end else ""
    return Player(address + section, False)


def _samples(clip: Clip) -> Floats | None:
    """The clip in mono at 16 kHz `[n]`, None where it is too long for a page."""
    if clip.end is not None and clip.end - clip.start > MOST_EMBEDDED:
        return None
    last = clip.start + MOST_EMBEDDED if clip.end is None else clip.end
    parts = []
    heard = 0.0
    with open_audio(clip.path) as source:
        length = (source.frames or 0) / source.rate
        if clip.end is None and length - clip.start > MOST_EMBEDDED:
            return None
        resampler = StreamResampler(source.rate, 1)
        for block in source.blocks():
            parts.append(resampler.push(block.mean(axis=0, keepdims=True)))
            heard += block.shape[1] / source.rate
            if heard > last:
                break
        parts.append(resampler.flush())
    if clip.end is None and heard - clip.start > MOST_EMBEDDED:
        return None
    whole = np.concatenate(parts, axis=1)[0]
    cut = whole[round(clip.start * SAMPLE_RATE) : round(last * SAMPLE_RATE)]
    return cut.astype(np.float32) if len(cut) else None


def _mp3(samples: Floats) -> bytes:
    import soundfile

    out = io.BytesIO()
    with soundfile.SoundFile(
        out,
        "w",
        samplerate=SAMPLE_RATE,
        channels=1,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=COMPRESSION,
        bitrate_mode="CONSTANT",
    ) as sound:
        sound.write(samples.clip(-1.0, 1.0))
    return out.getvalue()
