"""A client of the live server: stream a call, read its events, ask about calls.

    from voicetone.client import Stream

    with Stream.open("http://127.0.0.1:8765", sample_rate=8000, consent=True) as stream:
        ...

`AsyncStream` and `Stream` need the extra `client` (websockets); what goes over HTTP needs nothing
but Python.
"""

from __future__ import annotations

from voicetone.client.errors import ConnectionLostError, ServerError
from voicetone.client.events import (
    Alert,
    ChannelEnd,
    Closed,
    Created,
    Event,
    Gap,
    Missed,
    Other,
    Problem,
    SpeakerKnown,
    SpeechEnd,
    SpeechStart,
    TextRead,
    Tone,
    Updated,
    WindowTone,
)
from voicetone.client.http import Analysis, TextSentiment, analyze, calls, delete
from voicetone.client.stream import AsyncStream
from voicetone.client.sync import Stream
from voicetone.client.voices import Voice, enrol, forget, forget_subject, voices

__all__ = [
    "Alert",
    "Analysis",
    "AsyncStream",
    "ChannelEnd",
    "Closed",
    "ConnectionLostError",
    "Created",
    "Event",
    "Gap",
    "Missed",
    "Other",
    "Problem",
    "ServerError",
    "SpeakerKnown",
    "SpeechEnd",
    "SpeechStart",
    "Stream",
    "TextRead",
    "TextSentiment",
    "Tone",
    "Updated",
    "Voice",
    "WindowTone",
    "analyze",
    "calls",
    "delete",
    "enrol",
    "forget",
    "forget_subject",
    "voices",
]
