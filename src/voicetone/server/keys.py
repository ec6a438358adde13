"""Who may do what: hashed keys, scopes, and how often.

Of a key the server knows the SHA-256 only. Keys are 32 random bytes, so that a fast hash is
enough: nobody can try them all. Two kinds of signature (SigV4, AudioHook's) need the secret
itself; it comes from the environment or a file, never from the settings.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.errors import DataError, UsageError
from voicetone.server.clock import Clock, SystemClock
from voicetone.server.refusal import RefusedError

Scope = Literal["stream", "read", "files", "delete", "telephony", "chime", "voices"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
COUNTED: frozenset[Scope] = frozenset(("stream", "files", "telephony", "chime", "voices"))
"""What `calls_per_minute` limits: whatever makes the model work."""
LONGEST = 512
"""Characters of what is presented; more is no key."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class KeySettings:
    """One `[[keys]]` entry.

    Args:
        name: for logs and the operator.
        scopes: what it may do.
        hash: SHA-256 of the key, hex.
        secret_env: environment variable that holds a signing secret.
        secret_file: file that holds it instead.
        consent: whether calls by routes without such a field count as agreed to.
        queue: of its calls, where they name none.
        calls_per_minute: that it may begin; None for no limit.
    """

    name: Name
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    hash: Hash | None = None
    secret_env: str | None = None
    secret_file: Path | None = None
    consent: bool = False
    queue: Annotated[str, Field(max_length=200)] | None = None
    calls_per_minute: Annotated[float, Field(gt=0, le=1e6)] | None = None

    def __post_init__(self) -> None:
        if self.secret_env is not None and self.secret_file is not None:
            raise ValueError("either secret_env or secret_file")
        if self.hash is None and self.secret_env is None and self.secret_file is None:
            raise ValueError("a key needs hash, secret_env or secret_file")


@dataclass(frozen=True)
class Key:
    """A credential that was checked.

    Args:
        name: for logs and the calls that come with it.
        scopes: what it may do.
        consent: see `KeySettings`.
        queue: see `KeySettings`.
    """

    name: str
    scopes: tuple[Scope, ...]
    consent: bool = False
    queue: str | None = None


LOCAL = Key("local", SCOPES)
"""Whoever is on this machine, where the operator has set no keys."""


class Keys:
    """All credentials of one process.

    Args:
        entries: the operator's; with none, whoever connects may do everything, which the server
            allows on loopback only.
        clock: for rate limits.
        share: of the rate limits that this process grants, as each worker counts alone.

    Raises:
        DataError: two entries of one name, or a secret that is not there.
    """

    def __init__(
        self, entries: Sequence[KeySettings] = (), clock: Clock | None = None, share: float = 1.0
    ) -> None:
        clock = clock or SystemClock()
        self._keys = {entry.name: _key(entry) for entry in entries}
        if len(self._keys) < len(entries):
            raise DataError("two keys have one name: give each its own")
        self._hashes = [(bytes.fromhex(e.hash), e.name) for e in entries if e.hash is not None]
        self._secrets = {e.name: s for e in entries if (s := _secret(e)) is not None}
        self._buckets = {
            e.name: Bucket(e.calls_per_minute * share / 60, e.calls_per_minute * share, clock)
            for e in entries
            if e.calls_per_minute is not None
        }

    @property
    def open(self) -> bool:
        """Whether there are no keys, so that everybody who connects may do everything."""
        return not self._keys

    def check(self, presented: str | None, scope: Scope, counted: bool = True) -> Key:
        """The credential that a key belongs to, if it may do this now.

        Args:
            presented: the key, as it came.
            scope: what is to be done.
            counted: whether that is one more call by its rate limit.

        Raises:
            RefusedError: no key or a wrong one, one without the scope, or one used too often.
        """
        if self.open:
            return LOCAL
        if not presented or len(presented) > LONGEST:
            raise RefusedError("unauthorised", _NO_KEY)
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        found: str | None = None
        for known, name in self._hashes:  # all of them: the time tells nothing
            if hmac.compare_digest(known, digest):
                found = name
        if found is None:
            raise RefusedError("unauthorised", _NO_KEY)
        return self.granted(found, scope, counted)

    def granted(self, name: str, scope: Scope, counted: bool = True) -> Key:
        """The credential of this name, proven by other means (a signature, a ticket).

        Raises:
            RefusedError: there is none, it lacks the scope, or it is used too often.
        """
        key = self.named(name)
        if key is None:
            raise RefusedError("unauthorised", _NO_KEY)
        if scope not in key.scopes:
            raise RefusedError("forbidden", f"this key lacks the scope {scope}: use another")
        bucket = self._buckets.get(name) if counted and scope in COUNTED else None
        if bucket is not None and (wait := bucket.take()) > 0:
            raise RefusedError("rate_limited", "too many calls with this key: wait", wait)
        return key

    def named(self, name: str) -> Key | None:
        """The credential of this name, if there is one."""
        return LOCAL if self.open and name == LOCAL.name else self._keys.get(name)

    def secret(self, name: str) -> bytes | None:
        """What a credential signs with, if it has such a thing."""
        return self._secrets.get(name)


class Bucket:
    """Lets a number through at once and then so many per second.

    Args:
        rate: per second.
        burst: at once; at least one.
        clock: the time.
    """

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, max(burst, 1.0), clock
        self._left, self._seen = self._burst, clock.steady()

    def take(self) -> float:
        """0 if one more may pass now; else the seconds until it may."""
        now = self._clock.steady()
        self._left = min(self._left + (now - self._seen) * self._rate, self._burst)
        self._seen = now
        if self._left < 1.0:
            return (1.0 - self._left) / self._rate
        self._left -= 1.0
        return 0.0


def new_key(name: str) -> tuple[str, str]:
    """A key for a client and the entry that the settings need.

    Returns:
        The key, and TOML that holds its hash only.

    Raises:
        UsageError: a name that a key can't have.
    """
    if not re.fullmatch(NAME.strip("^$"), name):
        raise UsageError(f"{name!r}: a key's name is letters, digits and . _ -: choose another")
    key = secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = f'[[keys]]\nname = "{name}"\nhash = "{digest}"\nscopes = ["stream", "read"]\n'
    return key, entry


def bearer(header: str | None) -> str | None:
    """The key in an `Authorization` header, if it has one."""
    kind, _, rest = (header or "").partition(" ")
    return rest.strip() or None if kind.lower() == "bearer" else None


def _key(entry: KeySettings) -> Key:
    return Key(entry.name, entry.scopes, entry.consent, entry.queue)


def _secret(entry: KeySettings) -> bytes | None:
    if entry.secret_env is not None:
        value = os.environ.get(entry.secret_env, "")
        if not value:
            raise DataError(f"key {entry.name}: {entry.secret_env} is not set: set it")
        return value.encode()
    if entry.secret_file is None:
        return None
    try:
        with entry.secret_file.open("rb") as file:
            value_bytes = file.read(4096).strip()
    except OSError as error:
        raise DataError(
            f"key {entry.name}: {entry.secret_file} can't be read ({error.strerror or error}): "
            "name the file that holds the secret"
        ) from error
    if not value_bytes:
        raise DataError(f"key {entry.name}: {entry.secret_file} is empty: put the secret into it")
    return value_bytes


_NO_KEY = "no valid key: send one as `Authorization: Bearer KEY`"
