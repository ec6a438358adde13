"""What goes over HTTP: recordings, texts, lists of calls, deletion. It needs only Python."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from voicetone.client.connect import checked
from voicetone.client.errors import ConnectionLostError, ServerError, of_response
from voicetone.client.settings import Speaker, http_address, speaker_words
from voicetone.errors import AudioError, UsageError
from voicetone.types import FileResult, Scores

SECONDS = 60.0
"""That a server may be silent."""
MOST_BYTES = 64 << 20
"""Of an answer."""
PIECE = 64 << 10
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class TextSentiment:
    """How a text reads; `source` is the labeller, `problem` why there is no answer."""

    label: str | None
    sentiment: Scores | None
    source: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the server found in a recording, a text, or both."""

    audio: FileResult | None
    text: TextSentiment | None


def analyze(
    url: str,
    path: Path | str | None = None,
    *,
    text: str | None = None,
    consent: bool = False,
    channel_names: Sequence[str] | None = None,
    analyse: Sequence[int | str] | None = None,
    speaker: Speaker | None = None,
    split_speakers: int | Literal["auto"] | None = None,
    key: str | None = None,
    patience: float = 3600.0,
) -> Analysis:
    """Have a recording, an English text, or both analysed; the numbers are those of a live call.

    Args:
        url: of the server.
        path: of the recording; it is read in pieces, and a long one is waited for.
        text: to be read.
        consent: of those who are heard; a recording needs it.
        channel_names: one per channel.
        analyse: channels by number from 1 or by name, or `["all"]`.
        speaker: whose voice it is, for models that take one: `auto` (the recording's own first
            seconds, which is the default), `none`, the id of an enrolled voice, or ids by channel.
        split_speakers: how many share the one channel, each to get a line of their own, which is
            an estimate: 2 to 8, or `auto`.
        key: the credential, with the scope `files`.
        patience: seconds for which the result of a long recording is waited for.

    Raises:
        ServerError: the server says no.
        ConnectionLostError: it can't be reached, or takes longer than `patience`.
        AudioError: the recording can't be read.
        UsageError: neither a recording nor a text, or an address that is none.
    """
    if path is None and text is None:
        raise UsageError("nothing to analyse: give a recording, a text, or both")
    if path is None:
        body = json.dumps({"text": text}).encode()
        found = ask(url, "POST", "/v1/analyze", key, [body], len(body), "application/json")
        return _analysis(found)
    fields = {"consent": "true" if consent else "false"}
    fields |= {} if text is None else {"text": text}
    fields |= {} if channel_names is None else {"channel_names": ",".join(channel_names)}
    fields |= {} if analyse is None else {"analyse": ",".join(map(str, analyse))}
    fields |= {} if speaker is None else {"speaker": speaker_words(speaker)}
    fields |= {} if split_speakers is None else {"split_speakers": str(split_speakers)}
    found = upload(url, "/v1/analyze", Path(path), fields, key)
    return _analysis(found if "state" not in found else _waited(url, found, key, patience))


def calls(
    url: str,
    *,
    past: bool = False,
    queue: str | None = None,
    limit: int = 100,
    key: str | None = None,
) -> list[Mapping[str, Any]]:
    """Calls in progress, or with `past` those that the server has kept; newest first.

    Raises:
        ServerError, ConnectionLostError, UsageError: see `analyze`.
    """
    asked = {"limit": str(limit)} | ({"past": "true"} if past else {})
    asked |= {} if queue is None else {"queue": queue}
    found = ask(url, "GET", f"/v1/calls?{urlencode(asked)}", key).get("calls")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ServerError("internal", NOT_OURS)
    return found


def delete(url: str, call: str, *, key: str | None = None) -> None:
    """Delete all results of a call that has ended.

    Raises:
        ServerError, ConnectionLostError, UsageError: see `analyze`.
    """
    ask(url, "DELETE", f"/v1/calls/{quote(call, safe='')}", key)


def upload(
    url: str, where: str, path: Path, fields: Mapping[str, str], key: str | None
) -> dict[str, Any]:
    """Send a recording as a form.

    Args:
        url: of the server.
        where: path below it.
        path: of the recording.
        fields: beside it.
        key: the credential.

    Raises:
        ServerError, ConnectionLostError, AudioError, UsageError: see `analyze`.
    """
    border = secrets.token_hex(16)
    head = "".join(
        f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    name = quote(path.name, safe=" ()+,-.@_")
    head += f'--{border}\r\nContent-Disposition: form-data; name="audio"; filename="{name}"\r\n'
    before = f"{head}Content-Type: application/octet-stream\r\n\r\n".encode()
    after = f"\r\n--{border}--\r\n".encode()
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)

            def pieces() -> Iterator[bytes]:
                yield before
                left = size
                while left and (piece := file.read(min(PIECE, left))):
                    left -= len(piece)
                    yield piece
                yield after

            length = len(before) + size + len(after)
            kind = f"multipart/form-data; boundary={border}"
            return ask(url, "POST", where, key, pieces(), length, kind)
    except OSError as error:
        reason = error.strerror or error
        raise AudioError(f"{path}: can't be opened ({reason}): check the path") from error


def _waited(url: str, job: Mapping[str, Any], key: str | None, patience: float) -> dict[str, Any]:
    """The result of a long recording."""
    deadline = time.monotonic() + patience
    where = f"/v1/jobs/{quote(str(job.get('id')), safe='')}"
    while job.get("state") in ("queued", "running"):
        if time.monotonic() > deadline:
            raise ConnectionLostError(
                f"the recording is not analysed after {patience:g} s: ask for more patience"
            )
        time.sleep(POLL_SECONDS)
        job = ask(url, "GET", where, key)
    with suppress(ServerError, ConnectionLostError):
        ask(url, "DELETE", where, key)
    failed = job.get("error")
    if isinstance(failed, dict):
        raise of_response(500, json.dumps(failed).encode())
    result = job.get("result")
    if not isinstance(result, dict):
        raise ServerError("internal", NOT_OURS)
    return result


def _analysis(found: Mapping[str, Any]) -> Analysis:
    audio, text = found.get("audio"), found.get("text")
    try:
        return Analysis(
            None if audio is None else FileResult.from_dict(audio),
            None if text is None else TextSentiment(**text),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError("internal", NOT_OURS) from error


def ask(
    url: str,
    method: str,
    path: str,
    key: str | None,
    body: Iterator[bytes] | Sequence[bytes] = (),
    length: int = 0,
    kind: str | None = None,
) -> dict[str, Any]:
    """One request; its answer is a JSON object, or nothing, which gives an empty one."""
    headers = {"Accept": "application/json"}
    headers |= {} if key is None else {"Authorization": f"Bearer {checked(key)}"}
    headers |= {} if kind is None else {"Content-Type": kind, "Content-Length": str(length)}
    address = http_address(url, path)
    try:
        status, retry, answer = _exchange(address, method, headers, body)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConnectionLostError(
            f"{url}: the server can't be reached ({reason}): is it running there?"
        ) from error
    if status >= 300:
        raise of_response(status, answer, retry)
    try:
        found = json.loads(answer) if answer else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ServerError("internal", NOT_OURS, status=status)
    return found


def _exchange(
    address: str, method: str, headers: Mapping[str, str], body: Iterator[bytes] | Sequence[bytes]
) -> tuple[int, str | None, bytes]:
    """Status, `Retry-After` and body of the answer. No redirection is followed."""
    parts = urlsplit(address)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    with closing(kinds[parts.scheme](parts.netloc, timeout=SECONDS)) as connection:
        connection.putrequest(method, target)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        with suppress(BrokenPipeError, ConnectionResetError):  # a refusal comes before the end
            for piece in body:
                connection.send(piece)
        response = connection.getresponse()
        answer = response.read(MOST_BYTES + 1)
        if len(answer) > MOST_BYTES:
            raise http.client.HTTPException("an answer of too many bytes")
        return response.status, response.headers.get("Retry-After"), answer


NOT_OURS = "the answer is none of a voicetone server: check the address"
