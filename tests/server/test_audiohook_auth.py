"""Signatures of Genesys AudioHook connections."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.phones import signed

from voicetone.server.audiohook_auth import Nonces, client_secret, verify
from voicetone.server.refusal import RefusedError

KEY = base64.b64encode(b"0123456789abcdef0123456789abcdef")
NOW = 1_700_000_000.0
TARGET = "/v1/audiohook"


def checked(headers: dict[str, str], now: float = NOW, nonces: Nonces | None = None) -> None:
    verify(headers, TARGET, client_secret(KEY), now, nonces or Nonces())


def test_genesyss_own_example_of_a_signature() -> None:
    # Published with Genesys's reference implementation, which is MIT-licensed.
    key = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
    parts = (
        '("@request-target" "@authority" "audiohook-organization-id" "audiohook-session-id" '
        '"audiohook-correlation-id" "x-api-key")'
    )
    headers = {
        "host": "audiohook.example.com",
        "audiohook-organization-id": "d7934305-0972-4844-938e-9060eef73d05",
        "audiohook-session-id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
        "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
        "x-api-key": key,
        "signature": "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:",
        "signature-input": f'sig1={parts};keyid="{key}";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";'
        'alg="hmac-sha256";created=1641013200;expires=3282026430',
    }
    secret = client_secret(b"TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU=")
    target = "/api/v1/voicebiometrics/ws"
    verify(headers, target, secret, 1_641_013_205.0, Nonces())
    for wrong in ({"host": "other.example"}, {"audiohook-session-id": "x"}):
        with pytest.raises(RefusedError):
            verify({**headers, **wrong}, target, secret, 1_641_013_205.0, Nonces())
    with pytest.raises(RefusedError):
        verify(headers, "/other", secret, 1_641_013_205.0, Nonces())


def test_age_nonce_and_key() -> None:
    headers = signed(KEY, TARGET, NOW)
    nonces = Nonces()
    checked(headers, nonces=nonces)
    with pytest.raises(RefusedError, match="nonce"):
        checked(headers, nonces=nonces)
    checked(signed(KEY, TARGET, NOW, nonce="b" * 22), nonces=nonces)
    checked(headers, NOW + 12)
    checked(headers, NOW - 2)
    for now in (NOW + 14, NOW - 4, NOW + 1e9):
        with pytest.raises(RefusedError, match="too old"):
            checked(headers, now)
    with pytest.raises(RefusedError, match="is not right"):
        verify(headers, TARGET, None, NOW, Nonces())
    with pytest.raises(RefusedError, match="keyid"):
        checked({**headers, "x-api-key": "other"})
    with pytest.raises(RefusedError, match="nonce"):
        checked(signed(KEY, TARGET, NOW, nonce="short"))
    with pytest.raises(RefusedError, match="does not cover"):
        checked(signed(KEY, TARGET, NOW, leave_out="@authority"))
    other = base64.b64encode(b"another secret")
    with pytest.raises(RefusedError, match="is not right"):
        checked(signed(other, TARGET, NOW))
    with pytest.raises(RefusedError, match="no base64"):
        client_secret(b"not base64!")


def test_a_signature_without_secret_is_not_one_with_an_empty_secret() -> None:
    headers = signed(base64.b64encode(b""), TARGET, NOW)
    zeros = hmac.new(b"\0" * 32, b"", hashlib.sha256).digest()
    assert zeros == hmac.new(b"", b"", hashlib.sha256).digest()  # why `None` is checked besides
    with pytest.raises(RefusedError):
        verify(headers, TARGET, None, NOW, Nonces())
    with pytest.raises(RefusedError):
        verify(headers, TARGET, b"", NOW, Nonces())


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60)
    | st.from_regex(r'\Asig1=\(("@?[a-z-]{1,9}" ?){0,4}\)(;[a-z]+="?\w*"?)*\Z'),
    st.text(max_size=40) | st.from_regex(r"\Asig1=:[A-Za-z0-9+/=]{0,44}:\Z"),
)
def test_any_signature_is_refused(given_input: str, given_signature: str) -> None:
    headers = signed(KEY, TARGET, NOW)
    headers |= {"signature-input": given_input, "signature": given_signature}
    with pytest.raises(RefusedError):
        checked(headers)


def test_a_long_header_is_refused_at_once() -> None:
    headers = signed(KEY, TARGET, NOW)
    for name in ("signature-input", "signature"):
        for text in ('sig1=("' + '" "' * 1300 + '")', "sig1=" + "(" * 4000, "s" * 10**6):
            with pytest.raises(RefusedError):
                checked({**headers, name: text})


def test_nonces_are_bounded_and_forgotten() -> None:
    nonces = Nonces()
    for index in range(20_000):
        nonces.use("k", str(index), NOW + 10, NOW)
    with pytest.raises(RefusedError) as full:
        nonces.use("k", "more", NOW + 10, NOW)
    assert full.value.code == "rate_limited"
    nonces.use("k", "more", NOW + 30, NOW + 20)
    nonces.use("k", "1", NOW + 30, NOW + 20)
