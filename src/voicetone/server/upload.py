"""What came with `POST /v1/analyze`: a recording in a file without a name, words, or both."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import IO, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from voicetone.audio.find import display
from voicetone.server.incoming import first_problem, read_json
from voicetone.server.jobs import FileSettings
from voicetone.server.refusal import RefusedError
from voicetone.server.words import require_english

SPOOL_BYTES = 2**20
"""Of an upload, gathered before they go to the disk."""
SLOW_BYTES = 1000
"""A second on average, that a body must bring, as others wait for its place;"""
SLOW_SECONDS = 60.0
"""but for so long it may be slower."""
MOST_FIELDS = 16
FIELD_BYTES = 64 * 1024

FIELDS = {
    "channel_names": "a name for each channel, with commas: `agent,customer`",
    "analyse": "channels to analyse, by name or number, or `all`",
    "consent": "`true`: those who are heard know of the analysis and agree",
    "async": "`true`: answer at once with a job",
    "name": "what to call the recording",
    "speaker": "whose voice it is: `auto`, `none`, the id of a voice, or `1=ID,2=ID` by channel",
    "split_speakers": "how many share the one channel, each to get a line: 2 to 8, or `auto`",
    "text": "a text in English, such as what was said",
    "language": "of the text; `en` only",
}
"""Words beside a recording: fields of a form, or of the query where the body is the recording."""


class TextIn(BaseModel):
    """A text alone."""

    model_config = ConfigDict(extra="forbid")

    text: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What came with a request, all of it as text."""

    fields: Mapping[str, str]
    file: IO[bytes] | None
    name: str

    def flag(self, name: str) -> bool:
        """A field that is true or false.

        Raises:
            RefusedError: it is neither.
        """
        text = self.fields.get(name, "false").lower()
        if text not in ("true", "false"):
            raise RefusedError("bad_request", f"{name}: write true or false")
        return text == "true"

    def list(self, name: str) -> tuple[str, ...] | None:
        """A field of words with commas between them.

        Raises:
            RefusedError: a word is empty or comes twice.
        """
        if name not in self.fields:
            return None
        words = tuple(word.strip() for word in self.fields[name].split(","))
        if not all(words) or len(set(words)) < len(words):
            raise RefusedError("bad_request", f"{name}: write each once, with commas between them")
        return words


async def read_request(
    request: Request, kind: str, settings: FileSettings, known: Collection[str] = tuple(FIELDS)
) -> Sent:
    """Read a request to its end; a recording goes to a file without a name.

    Args:
        request: its body not yet read.
        kind: its content type.
        settings: limits.
        known: words that may come beside the recording.

    Raises:
        RefusedError: it is too long, or not what can be read.
    """
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > settings.bytes + MOST_FIELDS * FIELD_BYTES:
        raise _too_long(settings)
    if kind == "multipart/form-data":
        return await _form(request, settings, known)
    if kind == "application/x-www-form-urlencoded" or kind.startswith("text/"):
        raise RefusedError(
            "unsupported_media",
            f"Content-Type {display(kind)}: send multipart/form-data, application/json, or the "
            "recording itself as audio/wav",
        )
    file = tempfile.TemporaryFile(prefix="voicetone-")  # noqa: SIM115
    try:
        await _spool(_capped(request, settings, settings.bytes), file)
    except BaseException:
        file.close()
        raise
    fields = {name: value for name, value in request.query_params.items() if name in known}
    return Sent(fields, file, _name(fields.get("name")))


async def _form(request: Request, settings: FileSettings, known: Collection[str]) -> Sent:
    most = settings.bytes + MOST_FIELDS * FIELD_BYTES
    parser = MultiPartParser(
        request.headers,
        _capped(request, settings, most),
        max_files=1,
        max_fields=MOST_FIELDS,
        max_part_size=FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RefusedError("bad_request", f"the form can't be read: {error.message}") from error
    try:
        return _of_form(form, settings, known)
    except BaseException:
        await form.close()
        raise


def _of_form(form: FormData, settings: FileSettings, known: Collection[str]) -> Sent:
    fields: dict[str, str] = {}
    upload: UploadFile | None = None
    for name, value in form.multi_items():
        if name == "audio" and isinstance(value, UploadFile):
            upload = value
        elif name not in known or name in fields or isinstance(value, UploadFile):
            all_ = ", ".join(["audio (a file)", *known])
            raise RefusedError("bad_request", f"{display(name)[:40]}: send each of {all_} once")
        else:
            fields[name] = value
    if upload is None and "text" not in known:
        raise RefusedError("bad_request", "no audio: send a recording as a file")
    if upload is None and "text" not in fields:
        raise RefusedError("bad_request", "neither audio nor text: send one of them or both")
    if upload is None:
        return Sent(fields, None, "")
    if (upload.size or 0) > settings.bytes:
        raise _too_long(settings)
    spooled: Any = upload.file
    spooled.rollover()
    spooled.flush()
    return Sent(fields, spooled, _name(fields.get("name") or upload.filename))


async def _capped(
    request: Request, settings: FileSettings, most: int
) -> AsyncGenerator[bytes, None]:
    """The body, piece by piece, as far as it may go."""
    taken, began = 0, time.monotonic()
    async for piece in request.stream():
        taken += len(piece)
        if taken > most:
            raise _too_long(settings)
        if taken < SLOW_BYTES * (time.monotonic() - began - SLOW_SECONDS):
            raise RefusedError("idle_timeout", "the body comes too slowly: send it faster")
        yield piece


async def _spool(pieces: AsyncIterator[bytes], file: IO[bytes]) -> None:
    """Write what comes to a file, off the event loop."""
    gathered = bytearray()
    async for piece in pieces:
        gathered += piece
        if len(gathered) >= SPOOL_BYTES:
            await asyncio.to_thread(file.write, bytes(gathered))
            gathered.clear()
    await asyncio.to_thread(file.write, bytes(gathered))
    await asyncio.to_thread(file.flush)


async def read_words(request: Request, settings: FileSettings) -> TextIn:
    """The text of a JSON body.

    Raises:
        RefusedError: it is no JSON, too long, or has other fields.
    """
    body = bytearray()
    most = 6 * settings.characters + 4096  # a character may be written as six
    async for piece in _capped(request, settings, settings.bytes):
        body += piece
        if len(body) > most:
            raise _too_wordy(settings)
    try:
        words = TextIn.model_validate(read_json(bytes(body)))
    except ValidationError as error:
        where, said = first_problem(error)
        raise RefusedError("bad_request", f"{where[:40]}: {said}") from None
    except (ValueError, RecursionError):
        raise RefusedError("bad_request", "the body is no JSON: send an object") from None
    return checked(words, settings)


def checked(words: TextIn, settings: FileSettings) -> TextIn:
    """A text that can be read.

    Raises:
        RefusedError: it is too long, or in another language.
    """
    if len(words.text) > settings.characters:
        raise _too_wordy(settings)
    require_english(words.language)
    return words


def _name(text: str | None) -> str:
    """What messages and the result call a recording: no path, one line, not long."""
    name = (text or "").replace("\\", "/").rpartition("/")[2]
    return display(name)[:200] or "upload"


def _too_long(settings: FileSettings) -> RefusedError:
    return RefusedError(
        "message_too_large", f"more than {settings.bytes} bytes: send the recording in parts"
    )


def _too_wordy(settings: FileSettings) -> RefusedError:
    return RefusedError(
        "message_too_large", f"text: more than {settings.characters} characters: send it in parts"
    )
