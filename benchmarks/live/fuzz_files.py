"""Uploads, forms, texts and settings, as the fuzzing feeds them."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from fastapi import Request as WebRequest
from fuzz_shared import NOISE, as_raw, as_text, sendable
from mutating import Messages

from voicetone.audio.decode import open_audio
from voicetone.server.alerts import make_watch
from voicetone.server.call import CallStart
from voicetone.server.jobs import FileSettings
from voicetone.server.keys import Keys
from voicetone.server.lawful import lawful_channels
from voicetone.server.refusal import RefusedError
from voicetone.server.settings import read_settings
from voicetone.server.upload import read_request, read_words


def _recordings() -> tuple[Messages, ...]:
    out: list[Messages] = []
    for kind, subtype in (
        *(("WAV", "PCM_16"), ("WAV", "ULAW"), ("WAVEX", "FLOAT"), ("FLAC", "PCM_16")),
        *(("AIFF", "PCM_16"), ("OGG", "VORBIS"), ("AU", "ULAW")),
    ):
        file = io.BytesIO()
        soundfile.write(file, np.stack([NOISE, NOISE], 1), 8000, subtype, format=kind)
        out.append([file.getvalue()])
    return tuple(out)


MOST_CHANNELS, MOST_SECONDS = 4, 60.0


def run_upload(messages: Messages) -> None:
    """A recording: opened, measured and decoded as an upload is."""
    data = b"".join(map(as_raw, messages))
    file = os.memfd_create("upload")
    try:
        os.write(file, data)
        with open_audio(f"/proc/self/fd/{file}") as source:
            if source.channels > MOST_CHANNELS or (source.duration or 0) > MOST_SECONDS:
                raise RefusedError("unsupported_media", "too many channels, or too long")
            names = ("customer", "agent", "left", "right")[: source.channels]
            lawful_channels(source.channels, names, None, None)
            taken = 0.0
            for block in source.blocks():
                taken += block.shape[1] / source.rate
                if taken > MOST_SECONDS:
                    raise RefusedError("message_too_large", "too long")
    finally:
        os.close(file)


FILES = FileSettings()
_LOOP: list[asyncio.AbstractEventLoop] = []


def _asked(body: bytes, headers: Mapping[str, bytes], query: bytes = b"") -> WebRequest:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    named = [(name.encode(), value) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/analyze", "headers": named}
    return WebRequest({**scope, "query_string": query}, receive)


def _finish(work: Any) -> Any:
    """Run a coroutine in this process's own loop."""
    if not _LOOP:
        _LOOP.append(asyncio.new_event_loop())
    return _LOOP[0].run_until_complete(work)


def _form() -> tuple[Messages, ...]:
    fields = {"channel_names": "agent,customer", "analyse": "customer", "consent": "true"}
    lines = []
    for name, value in fields.items():
        lines.append(f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n')
    file = '--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n'
    body = "".join(lines).encode() + file.encode()
    body += b"Content-Type: audio/wav\r\n\r\n" + _recordings()[0][0][:200] + b"\r\n--x--\r\n"
    return (["multipart/form-data; boundary=x", body],)


def run_form(messages: Messages) -> None:
    """Content-Type and body of an upload."""
    kind, body = (*messages, "", b"")[:2]
    header = as_raw(kind).replace(b"\r", b"").replace(b"\n", b"")
    request = _asked(as_raw(body), {"content-type": header})
    sent = _finish(read_request(request, "multipart/form-data", FILES))
    try:
        for name in ("consent", "async"):
            sent.flag(name)
        for name in ("channel_names", "analyse"):
            sent.list(name)
        sendable(sent.name)
    finally:
        if sent.file is not None:
            sent.file.close()


def run_words(messages: Messages) -> None:
    """Body of a request with a text."""
    body = b"".join(as_raw(message) for message in messages)
    words = _finish(read_words(_asked(body, {"content-type": b"application/json"}), FILES))
    sendable(words.model_dump())


# -- what operators write --------------------------------------------------------------------------

TOML = """port = 9000
workers = 2
origins = ["https://desk.example"]
bad_messages = 5

[[keys]]
name = "pbx"
hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
scopes = ["telephony", "stream"]
calls_per_minute = 60

[limits]
channels = 50
idle = 30.0

[store]
url = "sqlite:///calls.db"
retention_days = 7

[twilio]
consent = true
inbound = "customer"

[audiosocket]
port = 9092
addresses = ["10.0.0.0/8"]

[[alerts.rules]]
name = "upset"
kind = "negative"
seconds = 20
over = 0.6

[[alerts.rules]]
name = "worse"
kind = "drop"
by = 0.4
channels = ["customer", 1]

[[targets]]
kind = "jsonl"
name = "lines"
folder = "events"
"""


def run_settings(messages: Messages) -> None:
    """A file of settings, with keys and alert rules."""
    file = os.memfd_create("settings")
    try:
        os.write(file, b"".join(map(as_raw, messages)))
        settings = read_settings(Path(f"/proc/self/fd/{file}"), (), {})
    finally:
        os.close(file)
    Keys(settings.keys)
    make_watch(settings.alerts)(CallStart("native", 8000, names=("customer",)))


def run_line(messages: Messages) -> None:
    """Words of the command line."""
    read_settings(None, [as_text(message) for message in messages], {})


LINES: tuple[Messages, ...] = (
    ["port=9000", "limits.channels=50", 'store.url=""', "twilio.consent=true"],
)
WORDS: tuple[Messages, ...] = ([json.dumps({"text": "I am not amused.", "language": "en"})],)
