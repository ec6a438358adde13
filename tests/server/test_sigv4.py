"""Signatures of requests, against those that botocore makes."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from voicetone.server import sigv4
from voicetone.server.refusal import RefusedError

NOW = datetime.datetime(2026, 11, 21, 22, 45, tzinfo=datetime.UTC)
SECRETS = {"desk": b"a secret of theirs", "other/slash": b"one more"}
URL = "http://localhost:8765/voice-connectors/abc/voice-tone-analysis-tasks?b=2&a=1"


class FixedAuth(SigV4Auth):  # type: ignore[misc]
    """botocore's signer at a time of the test's own."""

    def __init__(self, moment: datetime.datetime, *rest: Any) -> None:
        super().__init__(*rest)
        self.moment = moment

    def add_auth(self, request: Any) -> None:
        request.context["timestamp"] = self.moment.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        canonical = self.canonical_request(request)
        text = self.string_to_sign(request, canonical)
        self._inject_signature_to_request(request, self.signature(text, request))


def signed(
    url: str = URL,
    *,
    method: str = "POST",
    body: bytes = b"{}",
    key: str = "desk",
    secret: str = "a secret of theirs",
    region: str = "us-east-1",
    service: str = "chime",
    moment: datetime.datetime = NOW,
    headers: dict[str, str] | None = None,
    token: str | None = None,
) -> sigv4.Request:
    request = AWSRequest(method, url, {"Content-Type": "application/json", **(headers or {})}, body)
    FixedAuth(moment, Credentials(key, secret, token), service, region).add_auth(request)
    parts = urlsplit(url)
    sent = [(k.lower(), v) for k, v in request.headers.items()]
    if not any(k == "host" for k, _ in sent):
        sent.append(("host", parts.netloc))
    return sigv4.Request(method, parts.path, parts.query, tuple(sent), body)


def check(request: sigv4.Request, region: str = "us-east-1", after: float = 0.0) -> str:
    return sigv4.verify(request, SECRETS.get, region, NOW.timestamp() + after)


def refused(request: sigv4.Request, word: str, **changes: Any) -> None:
    with pytest.raises(RefusedError, match=word) as error:
        check(request, **changes)
    assert error.value.code == "unauthorised"


def with_header(request: sigv4.Request, name: str, value: str | None) -> sigv4.Request:
    kept = tuple((k, v) for k, v in request.headers if k != name)
    return replace(request, headers=kept if value is None else (*kept, (name, value)))


def test_what_botocore_signs_is_taken() -> None:
    assert check(signed()) == "desk"
    assert check(signed(key="other/slash", secret="one more")) == "other/slash"
    assert check(signed(method="GET", body=b"")) == "desk"


# Segments that a URL may hold once they are encoded; botocore drops dots as we do.
words = st.text(min_size=1, max_size=12)
values = st.text(max_size=12)


@given(
    path=st.lists(words, max_size=4),
    query=st.lists(st.tuples(words, values), max_size=4),
    body=st.binary(max_size=64),
    header=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)
def test_any_request_that_botocore_signs_is_taken(
    path: list[str], query: list[tuple[str, str]], body: bytes, header: str
) -> None:
    url = "http://localhost/" + "/".join(quote(word, safe="-_.~") for word in path)
    if query:
        pairs = (f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in query)
        url += "?" + "&".join(pairs)
    request = signed(url, body=body, headers={"X-Amz-Meta": f" {header}  {header} "})
    assert check(request) == "desk"
    refused(replace(request, body=body + b" "), "does not match")
    refused(replace(request, path=request.path + "x"), "does not match")
    refused(replace(request, query=request.query + "&x=1"), "does not match")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"secret": "another"}, "does not match"),
        ({"key": "nobody"}, "does not match"),
        ({"region": "eu-central-1"}, "region eu-central-1: here it is us-east-1"),
        ({"service": "s3"}, "service s3"),
        ({"moment": NOW - datetime.timedelta(seconds=301)}, "5 minutes"),
        ({"moment": NOW + datetime.timedelta(seconds=301)}, "5 minutes"),
        ({"token": "of a session"}, "session tokens"),
        ({"headers": {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}}, "payload signing"),
        ({"headers": {"X-Amz-Content-SHA256": "0" * 64}}, "not the one that was signed"),
    ],
)
def test_what_is_not_right_is_refused(changes: dict[str, Any], word: str) -> None:
    refused(signed(**changes), word)


def test_a_signature_grows_old() -> None:
    request = signed()
    assert check(request, after=299.0) == "desk"
    refused(request, "5 minutes", after=301.0)
    refused(request, "5 minutes", after=-301.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda r: with_header(r, "authorization", None), "not signed"),
        (lambda r: with_header(r, "authorization", "Bearer abc"), "none of AWS"),
        (lambda r: with_header(r, "authorization", "x" * 5000), "none of AWS"),
        (lambda r: with_header(r, "x-amz-date", None), "x-amz-date is missing"),
        (lambda r: with_header(r, "x-amz-date", "yesterday"), "no time"),
        (lambda r: with_header(r, "x-amz-date", "20261399T000000Z"), "day of the signature"),
        (lambda r: with_header(r, "x-amz-extra", "1"), "x-amz-extra is not signed"),
        (lambda r: with_header(r, "content-type", None), "signed and not there"),
        (lambda r: with_header(r, "content-type", "text/html"), "does not match"),
        (lambda r: with_header(r, "host", "elsewhere"), "does not match"),
        (lambda r: replace(r, method="GET"), "does not match"),
    ],
)
def test_what_was_changed_on_the_way_is_refused(
    change: Callable[[sigv4.Request], sigv4.Request], word: str
) -> None:
    refused(change(signed()), word)


def test_the_host_must_be_signed() -> None:
    request = signed()
    authorization = request.header("authorization")
    assert authorization is not None
    refused(
        with_header(request, "authorization", authorization.replace("content-type;host;", "")),
        "header (content-type|host) is not signed",
    )


def test_a_header_that_comes_twice_is_no_request() -> None:
    request = signed()
    twice = replace(request, headers=(*request.headers, ("x-amz-date", "20261121T224500Z")))
    with pytest.raises(RefusedError) as error:
        check(twice)
    assert error.value.code == "bad_request"


@given(text=st.text(max_size=300), rest=st.text(max_size=40))
def test_no_authorization_makes_it_stumble(text: str, rest: str) -> None:
    for value in (
        text,
        f"AWS4-HMAC-SHA256 Credential={text}, SignedHeaders=host, Signature={rest}",
    ):
        request = with_header(signed(), "authorization", value)
        with pytest.raises(RefusedError):
            check(request)


def test_the_documented_example() -> None:
    """GET ListUsers of IAM, "Examples of the complete Signature Version 4 signing process"."""
    request = sigv4.Request(
        "GET",
        "/",
        "Action=ListUsers&Version=2010-05-08",
        (
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
                "SignedHeaders=content-type;host;x-amz-date, Signature="
                "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
        ),
        b"",
    )
    secret = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    moment = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC).timestamp()
    secrets = {"AKIDEXAMPLE": secret}
    assert sigv4.verify(request, secrets.get, "us-east-1", moment, "iam") == "AKIDEXAMPLE"
