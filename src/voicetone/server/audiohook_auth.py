"""How Genesys signs an AudioHook connection: HTTP message signatures with a shared secret.

The scheme is that of RFC 9421 (Genesys follows its draft 11, which has the same form for what is
used here): `Signature-Input` names the signed parts, `Signature` is base64 of HMAC-SHA256 over
them. Genesys's own rules: which parts must be signed, a nonce, and an age of at most 10 s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from voicetone.server.refusal import RefusedError

REQUIRED = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
MOST_AGE = 10.0
"""Seconds after which a signature is too old."""
SKEW = 3.0
"""Seconds by which the two clocks may differ."""
LEAST_NONCE = 22
MOST_HEADER = 4096
MOST_NONCES = 20_000

_TEXT = r'"([\x20\x21\x23-\x5b\x5d-\x7e]*)"'  # of RFC 8941, without escapes: nobody needs them here
_INPUT = re.compile(
    rf"([a-z*][a-z0-9_.*-]*)=\(((?: ?{_TEXT})*) ?\)((?:; ?[a-z]+=[^;,]+)*)", re.ASCII
)
_PARAMETER = re.compile(rf"; ?([a-z]+)=(?:{_TEXT}|([0-9]{{1,15}}))", re.ASCII)
_SIGNATURE = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]+):", re.ASCII)
_TEXTS = ("alg", "keyid", "nonce")
_NUMBERS = ("created", "expires")


@dataclass(frozen=True, slots=True)
class Signature:
    """What the two headers say.

    Args:
        parts: names of what is signed, in order.
        parameters: of the signature, in order, as they were written.
        texts: those parameters that are text.
        numbers: those that are seconds since 1970.
        value: the signature.
    """

    parts: tuple[str, ...]
    parameters: str
    texts: Mapping[str, str]
    numbers: Mapping[str, int]
    value: bytes


class Nonces:
    """Those that were used, so that nobody can use a signature twice."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def use(self, key: str, nonce: str, until: float, now: float) -> None:
        """Use a nonce of a key.

        Args:
            key: name of the credential.
            nonce: the nonce.
            until: when its signature is too old anyhow, seconds since 1970.
            now: the time, seconds since 1970.

        Raises:
            RefusedError: it has been used, or there are too many at once.
        """
        if len(self._until) >= MOST_NONCES:
            self._until = {known: end for known, end in self._until.items() if end >= now}
        if (key, nonce) in self._until:
            raise RefusedError("unauthorised", "this nonce has been used: sign each connection")
        if len(self._until) >= MOST_NONCES:
            raise RefusedError("rate_limited", "too many signatures at once: wait", MOST_AGE)
        self._until[key, nonce] = until


def verify(
    headers: Mapping[str, str], target: str, secret: bytes | None, now: float, nonces: Nonces
) -> None:
    """Check the signature of a connection.

    Args:
        headers: of the request, names in lower case.
        target: path and query of the request.
        secret: of the credential that `x-api-key` names; None if there is none, which takes the
            same time.
        now: seconds since 1970.
        nonces: those that were used.

    Raises:
        RefusedError: it is missing, not right, too old, or used a second time.
    """
    found = read(headers.get("signature-input", ""), headers.get("signature", ""))
    missing = [name for name in REQUIRED if name not in found.parts]
    if missing:
        raise _refused(f"does not cover {missing[0]}: sign it")
    if len(set(found.parts)) < len(found.parts):
        raise _refused("covers a part twice: sign each once")
    key, nonce = found.texts.get("keyid", ""), found.texts.get("nonce", "")
    if key != headers.get("x-api-key"):
        raise _refused("has another keyid than X-API-KEY: give both the key's name")
    if len(nonce) < LEAST_NONCE:
        raise _refused(f"has no nonce of at least {LEAST_NONCE} characters: add one")
    if found.texts.get("alg", "hmac-sha256") != "hmac-sha256":
        raise _refused("is of another kind: sign with hmac-sha256")
    until = _require_fresh(found.numbers, now)
    text = base(found, headers, target)
    right = hmac.new(secret or b"\0" * 32, text.encode("utf-8", "replace"), hashlib.sha256)
    if not hmac.compare_digest(right.digest(), found.value) or not secret:
        raise _refused("is not right: check the API key and the client secret")
    nonces.use(key, nonce, until, now)


def read(signed: str, signature: str) -> Signature:
    """Read the two headers, which must hold one signature.

    Raises:
        RefusedError: they don't.
    """
    if len(signed) > MOST_HEADER or len(signature) > MOST_HEADER:
        raise _refused("is too long: send one signature")
    described = _INPUT.fullmatch(signed.strip())
    given = _SIGNATURE.fullmatch(signature.strip())
    if described is None or given is None or described[1] != given[1]:
        raise _refused("is missing: send Signature-Input and Signature, with one signature")
    try:
        value = base64.b64decode(given[2], validate=True)
    except (binascii.Error, ValueError):
        raise _refused("is no base64: send HMAC-SHA256 as base64") from None
    texts: dict[str, str] = {}
    numbers: dict[str, int] = {}
    at, parameters = 0, ""
    for one in _PARAMETER.finditer(described[4]):
        name, text, digits = one.groups()
        if one.start() != at or name in texts or name in numbers:
            break
        if name in _TEXTS and text is not None:
            texts[name] = text
            parameters += f';{name}="{text}"'
        elif name in _NUMBERS and digits is not None:
            numbers[name] = int(digits)
            parameters += f";{name}={int(digits)}"
        else:
            break
        at = one.end()
    if at != len(described[4]):
        raise _refused("has parameters that are not known: send created, expires, nonce, keyid")
    return Signature(tuple(re.findall(_TEXT, described[2])), parameters, texts, numbers, value)


def base(signature: Signature, headers: Mapping[str, str], target: str) -> str:
    """The text that was signed (RFC 9421, section 2.5).

    Raises:
        RefusedError: a part is named that is not there.
    """
    lines = []
    for name in signature.parts:
        if name == "@request-target":
            value: str | None = target
        elif name == "@authority":
            value = headers.get("host", "").strip().lower()
        else:
            value = headers.get(name)
        if value is None or (name.startswith("@") and name not in REQUIRED):
            raise _refused(f"covers {name}, which is not there: leave it out")
        lines.append(f'"{name}": {value.strip()}')
    named = " ".join(f'"{name}"' for name in signature.parts)
    lines.append(f'"@signature-params": ({named}){signature.parameters}')
    return "\n".join(lines)


def client_secret(text: bytes | None) -> bytes | None:
    """The HMAC key: Genesys is given base64, and signs with the bytes that it stands for.

    Raises:
        RefusedError: the operator's secret is no base64.
    """
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(
            "internal", "the client secret here is no base64: give both sides the same base64"
        ) from None


def _require_fresh(numbers: Mapping[str, int], now: float) -> float:
    """When the signature is too old; it must not be yet."""
    created = numbers.get("created")
    if created is None:
        raise _refused("has no `created`: add it")
    until = min(created + MOST_AGE, numbers.get("expires", created + MOST_AGE)) + SKEW
    if created > now + SKEW or until < now:
        raise _refused("is too old or of the future: set both clocks by NTP")
    return until


def _refused(what: str) -> RefusedError:
    return RefusedError("unauthorised", f"the signature {what}")
