"""Enrolled voices in the store: put in, found by their owner, deleted; each in one transaction."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa

from voicetone.server.events import iso
from voicetone.server.refusal import RefusedError
from voicetone.server.store_queries import shorten
from voicetone.server.store_tables import Database, clean, voices
from voicetone.types import Floats

MOST_LISTED = 1000
_ID_LENGTH = 64


@dataclass(frozen=True, slots=True)
class StoredVoice:
    """A voice that somebody had enrolled.

    Args:
        id: random.
        owner: name of the key that it came with, and the only one that may use it.
        encoder: what computed the embedding.
        embedding: float32 `[size]`; shown to nobody.
        seconds: of speech that it was computed from.
        warnings: about the recording.
        consent: how it was given.
        created: seconds since 1970.
        expires: likewise; from then on it is as if deleted.
        subject: hash of what the owner calls the person, if anything.
    """

    id: str
    owner: str
    encoder: str
    embedding: Floats = field(repr=False)
    seconds: float
    warnings: tuple[str, ...]
    consent: str
    created: float
    expires: float
    subject: str | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """What its owner may see: all but the embedding."""
        return {
            "id": self.id,
            "created": iso(self.created),
            "expires": iso(self.expires),
            "seconds": round(self.seconds, 2),
            "encoder": self.encoder,
            "consent": self.consent,
            "warnings": list(self.warnings),
        }


def subject_hash(owner: str, subject: str) -> str:
    """What stands in the store for the name of a person.

    Slow on purpose (scrypt, RFC 7914): telephone numbers are few enough to be tried out.
    """
    salt = b"voicetone.subject." + owner.encode("utf-8", "replace")
    name = subject.encode("utf-8", "replace")
    return hashlib.scrypt(name, salt=salt, n=1 << 14, r=8, p=1, dklen=16).hex()


def add_voice(database: Database, voice: StoredVoice, most: int) -> None:
    """Keep a voice.

    Args:
        database: to write to.
        voice: that is new.
        most: voices that an owner may have.

    Raises:
        RefusedError: the owner has as many already.
    """
    theirs = sa.and_(voices.c.owner == voice.owner, voices.c.expires > voice.created)
    with database.write.begin() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(voices).where(theirs))
        if int(count or 0) >= most:
            raise RefusedError(
                "rate_limited", f"this key has {most} voices, the most there may be: delete some"
            )
        row = {
            "id": voice.id,
            "owner": voice.owner,
            "subject": voice.subject,
            "encoder": voice.encoder,
            "embedding": np.asarray(voice.embedding, dtype="<f4").tobytes(),
            "seconds": voice.seconds,
            "warnings": json.dumps(list(voice.warnings)),
            "consent": clean(voice.consent),
            "created": voice.created,
            "expires": voice.expires,
        }
        connection.execute(sa.insert(voices).values(row))


def find_voice(connection: sa.Connection, id: str, owner: str, now: float) -> StoredVoice | None:
    """A voice of this owner that has not expired, or None."""
    if len(id) > _ID_LENGTH:
        return None
    where = (voices.c.id == id, voices.c.owner == owner, voices.c.expires > now)
    row = connection.execute(sa.select(voices).where(*where)).mappings().first()
    return None if row is None else _voice(row)


def find_voices(connection: sa.Connection, owner: str, now: float) -> list[StoredVoice]:
    """All voices of an owner that have not expired, newest first."""
    where = (voices.c.owner == owner, voices.c.expires > now)
    order = (voices.c.created.desc(), voices.c.id)
    chosen = sa.select(voices).where(*where).order_by(*order).limit(MOST_LISTED)
    return [_voice(row) for row in connection.execute(chosen).mappings()]


def delete_voice(database: Database, id: str, owner: str) -> bool:
    """Delete a voice of this owner; whether it was there."""
    if len(id) > _ID_LENGTH:
        return False
    return _delete(database, voices.c.id == id, voices.c.owner == owner) > 0


def delete_subject(database: Database, subject: str, owner: str) -> int:
    """Delete all voices of a person; how many there were."""
    hashed = subject_hash(owner, subject)
    return _delete(database, voices.c.subject == hashed, voices.c.owner == owner)


def purge_voices(database: Database, now: float) -> int:
    """Delete the voices that have expired; how many there were."""
    return _delete(database, voices.c.expires <= now)


def _delete(database: Database, *where: Any) -> int:
    with database.write.begin() as connection:
        count = int(connection.execute(sa.delete(voices).where(*where)).rowcount)
    if count:
        shorten(database)
    return count


def _voice(row: sa.RowMapping) -> StoredVoice:
    return StoredVoice(
        id=row["id"],
        owner=row["owner"],
        encoder=row["encoder"],
        embedding=np.frombuffer(row["embedding"], dtype="<f4").astype(np.float32),
        seconds=row["seconds"],
        warnings=tuple(json.loads(row["warnings"])),
        consent=row["consent"],
        created=row["created"],
        expires=row["expires"],
        subject=row["subject"],
    )
