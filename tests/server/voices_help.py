"""What tests of enrolled voices share: keys, recordings, settings."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import sqlalchemy as sa
from starlette.testclient import TestClient

from voicetone.audio.telephony import s16le_decode, s16le_encode
from voicetone.server.keys import KeySettings
from voicetone.server.settings import Settings
from voicetone.server.state import ServerState
from voicetone.server.store import StoreSettings

RATE = 16_000
CONSENT = "signed form of 3 May"
SCOPES = ("stream", "files", "voices", "read")
HOUR = 3600.0
MINE = "key-of-desk"


def key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer key-of-{name}"}


def entry(name: str, **words: Any) -> KeySettings:
    return KeySettings(
        name=name, hash=hashlib.sha256(f"key-of-{name}".encode()).hexdigest(), **words
    )


def made_settings(url: str, model: Path, **changes: Any) -> Settings:
    keys = (
        entry("desk", scopes=SCOPES, consent=True),
        entry("other", scopes=SCOPES, consent=True),
        entry("caller", scopes=("stream",)),
    )
    return Settings(store=StoreSettings(url=url), model=str(model), keys=keys, **changes)


def ready(state: ServerState) -> None:
    """The store's tables are made by its thread."""
    assert state.store is not None
    for _ in range(500):
        if sa.inspect(state.store._database.read).has_table("voices"):
            return
        time.sleep(0.02)
    raise AssertionError


def wav(samples: Any, rate: int = RATE) -> bytes:
    sound = np.atleast_2d(np.asarray(samples, dtype=np.float32))
    whole = np.frombuffer(s16le_encode(sound.T.ravel()), "<i2").reshape(-1, len(sound))
    out = io.BytesIO()
    soundfile.write(out, whole, rate, format="WAV", subtype="PCM_16")
    return out.getvalue()


def file(folder: Path, samples: Any) -> Path:
    path = folder / "maria-sanchez.wav"
    path.write_bytes(wav(samples))
    return path


def as_sent(samples: Any) -> Any:
    return s16le_decode(s16le_encode(samples))


def post(client: TestClient, samples: Any, name: str = "desk", **fields: str) -> Any:
    body = {"consent": CONSENT, **fields}
    return client.post(
        "/v1/voices", files={"audio": ("x.wav", wav(samples))}, data=body, headers=key(name)
    )
