"""Recordings of strangers, analysed in processes of their own (`python -m` this module).

A recording comes as an open file without a name, by a Unix socket; what comes back are lines of
JSON. So a file that hangs or kills its decoder costs itself, nothing of it is left on the disk,
and the live calls' process does none of the work, which runs at a lower priority.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from voicetone.errors import AudioError, UsageError, VoicetoneError
from voicetone.server.lawful import lawful_channels, require_lawful_split
from voicetone.server.refusal import RefusedError
from voicetone.server.voices import (
    AUTO,
    ONLY,
    Asked,
    packed,
    require_fitting,
    speakers_of,
    unpacked,
)

if TYPE_CHECKING:
    from voicetone.inference.split_file import Splitting
    from voicetone.pretrained.predictor import Predictor

MOST_REQUEST = 128 * 1024
"""Bytes of what is asked of a process."""
NICE = 10
"""How far below the live calls' priority."""

Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked about one recording.

    Args:
        name: what the sender calls it; no path of this machine.
        names: of its channels.
        analyse: channels asked for, by number from 1 or by name; `("all",)` for all of them.
        staff_reason: why the staff's channel may be analysed; None forbids it.
        seconds: the longest that is taken.
        channels: the most that are taken.
        speaker: whose voices are heard, as pairs of a channel or `ONLY` and `auto`, `none` or the
            id of a voice.
        voices: these, packed, by their ids.
        split: how many speakers the one channel is split into, or `auto`; None for no split.
        enrol: not the tone is wanted but the voice, of this channel from 1, or of the only one.
    """

    name: str
    names: tuple[str, ...] | None
    analyse: tuple[str, ...] | None
    staff_reason: str | None
    seconds: float
    channels: int
    speaker: tuple[tuple[int, str], ...] = ((ONLY, AUTO),)
    voices: Mapping[str, Any] = field(default_factory=dict, repr=False)
    enrol: int | None = None
    split: str | None = None

    @property
    def asked(self) -> Asked:
        """What is asked about speakers."""
        return dict(self.speaker)

    def to_json(self) -> bytes:
        """As it goes to a process."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_json(data: bytes) -> Wanted:
        """The record again."""
        body = json.loads(data)
        for key in ("names", "analyse"):
            body[key] = None if body[key] is None else tuple(body[key])
        body["speaker"] = tuple((channel, word) for channel, word in body["speaker"])
        return Wanted(**body)


def analysed(path: str, wanted: Wanted, predictor: Predictor, say: Say) -> dict[str, Any]:
    """The result of one recording, as `voicetone analyze --json` writes it.

    Args:
        path: of the open file.
        wanted: what is asked.
        predictor: the model.
        say: told of `seconds` done and in all, first when the length is known.

    Raises:
        AudioError, UsageError, RefusedError, BundleError: why there is none.
    """
    from voicetone.inference.file import analyze

    count, length = _looked_at(path, wanted)
    asked = _numbers(count, wanted)
    channels = lawful_channels(count, wanted.names, asked, wanted.staff_reason)
    if wanted.split is not None:
        require_lawful_split(count, wanted.names, channels, wanted.staff_reason)
    say({"done": 0.0, "seconds": length})

    def progress(done: float, total: float | None) -> None:
        _check_length(done, wanted)
        say({"done": round(done, 3), "seconds": total})

    found = {id: unpacked(voice) for id, voice in wanted.voices.items()}
    require_fitting(predictor, found)
    result = analyze(
        path,
        predictor,
        channels=channels,
        names=wanted.names,
        speakers=speakers_of(wanted.asked, found),
        progress=progress,
        split=_splitting(wanted),
    )
    return {**result.to_dict(), "file": wanted.name}


def _splitting(wanted: Wanted) -> Splitting | None:
    from voicetone.inference.split_file import (
        MOST_SECONDS,
        Splitting,
        default_encoder,
        speakers_in,
    )

    if wanted.split is None:
        return None
    most = min(wanted.seconds, MOST_SECONDS)
    return Splitting(speakers_in(wanted.split), default_encoder(), most)


def enrolled(path: str, wanted: Wanted, predictor: Predictor, say: Say) -> dict[str, Any]:
    """The voice in one recording, packed.

    Args:
        path: of the open file.
        wanted: what is asked.
        predictor: the model.
        say: told of `seconds` done and in all, first when the length is known.

    Raises:
        AudioError, DataError, UsageError, RefusedError, BundleError: why there is none.
    """
    import numpy as np

    from voicetone.audio.decode import open_audio
    from voicetone.audio.units import SAMPLE_RATE
    from voicetone.inference.enrolment import enrol_for
    from voicetone.types import Waveform

    count, length = _looked_at(path, wanted)
    channel = wanted.enrol or 1
    if channel > count or (count > 1 and not wanted.enrol):
        raise RefusedError(
            "bad_request",
            f"{count} channels: send a recording of one person, or say which channel is theirs",
        )
    say({"done": 0.0, "seconds": length})
    blocks, taken = [], 0
    with open_audio(path) as source:
        rate = source.rate
        for block in source.blocks():
            blocks.append(block[channel - 1 : channel])
            taken += block.shape[1]
            _check_length(taken / rate, wanted)
    wave = Waveform(np.concatenate(blocks, axis=1), rate).resample(SAMPLE_RATE)
    return packed(enrol_for(predictor, [wave.samples[0]], names=["the recording"]))


def _looked_at(path: str, wanted: Wanted) -> tuple[int, float | None]:
    """Channels and seconds, if known, of a recording that may be taken."""
    from voicetone.audio.decode import open_audio

    with open_audio(path) as source:
        count, length = source.channels, source.duration
    if count > wanted.channels:
        raise RefusedError(
            "unsupported_media",
            f"{count} channels: {wanted.channels} at most are taken: send those with speech",
        )
    _check_length(length or 0.0, wanted)
    return count, length


def answer(path: str, wanted: Wanted, load: Callable[[], Predictor], say: Say) -> None:
    """Analyse one recording, or enrol from it, and say the result, or why there is none."""
    try:
        work = analysed if wanted.enrol is None else enrolled
        result = work(path, wanted, load(), say)
    except RefusedError as error:
        said = {"code": error.code, "message": str(error)}
    except AudioError as error:
        said = {"code": "unsupported_media", "message": str(error)}
    except UsageError as error:
        said = {"code": "bad_request", "message": str(error)}
    except VoicetoneError as error:
        said = {"code": "model_failed", "message": str(error)}
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "out of memory"
        said = {"code": "internal", "message": f"{path}: can't be analysed: {reason}"}
    else:
        say({"result": result})
        return
    message = said["message"].replace(path, wanted.name)
    say({"error": {**said, "message": message}})


def serve(requests: socket.socket, model: str | None, say: Say) -> None:
    """Answer one request after another until the other end is closed."""
    from voicetone.pretrained import load

    predictor: Predictor | None = None

    def loaded() -> Predictor:
        nonlocal predictor
        predictor = predictor or load(model)
        return predictor

    while True:
        data, file = received(requests)
        if file is None:
            return
        try:
            answer(f"/dev/fd/{file}", Wanted.from_json(data), loaded, say)
        finally:
            os.close(file)


def send(requests: socket.socket, wanted: Wanted, file: int) -> None:
    """Hand a request and an open file to a process. Never waits.

    Raises:
        OSError: it is gone.
    """
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
    requests.sendmsg([wanted.to_json()], rights)


def received(requests: socket.socket) -> tuple[bytes, int | None]:
    """The next request and its file; no file at the end."""
    files = array.array("i")
    room = socket.CMSG_SPACE(files.itemsize)
    data, ancillary, _, _ = requests.recvmsg(MOST_REQUEST, room)
    for level, kind, rights in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(rights[: len(rights) - len(rights) % files.itemsize])
    return data, files[0] if files else None


def _numbers(count: int, wanted: Wanted) -> tuple[int, ...] | None:
    """What `analyse` asks for, as numbers from 1."""
    if wanted.analyse is None:
        return None
    if wanted.analyse == ("all",):
        return tuple(range(1, count + 1))
    names = wanted.names or ()
    found = []
    for word in wanted.analyse:
        if word in names:
            found.append(names.index(word) + 1)
        elif word.isdecimal() and len(word) < 4:
            found.append(int(word))
        else:
            raise UsageError(f"no channel is named {word!r}: give names or numbers from 1 on")
    return tuple(found)


def _check_length(seconds: float, wanted: Wanted) -> None:
    if seconds > wanted.seconds:
        raise RefusedError(
            "message_too_large",
            f"longer than {wanted.seconds:g} s, which is the most that is taken: send it in parts",
        )


def main(arguments: Sequence[str]) -> None:
    """A process: number of its socket, then the model's name or path, if any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    with suppress(OSError):
        os.nice(NICE)
    # Whatever a library prints must not come between the lines.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def say(body: Mapping[str, Any]) -> None:
        data = memoryview(json.dumps(body).encode() + b"\n")
        while data:
            data = data[out.write(data) :]

    requests = socket.socket(fileno=int(arguments[0]))
    with suppress(ConnectionError), requests, out:
        serve(requests, arguments[1] if len(arguments) > 1 else None, say)


if __name__ == "__main__":
    main(sys.argv[1:])
