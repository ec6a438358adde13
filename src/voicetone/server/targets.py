"""Where events go besides the store: what an operator sets, and what each kind makes of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Protocol, get_args
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from voicetone.errors import UsageError
from voicetone.server.events import EventType
from voicetone.server.store_spill import CHIME, Item

_STRICT = ConfigDict(extra="forbid")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,50}$")]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Format = Literal["native", "chime"]

USUAL: tuple[EventType, ...] = (
    "session.created",
    "session.updated",
    "tone",
    "gap",
    "alert",
    "error",
    "session.closed",
)
"""What a target gets unless told otherwise: all but windows and turns."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one target.

    Args:
        id: ours; the same in every try.
        call: the call's id.
        key: names it among the call's: the event's number, or its id.
        queue: of the call.
        time: of the event, seconds since 1970.
        body: JSON.
    """

    id: int
    call: str
    key: str
    queue: str | None
    time: float
    body: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A delivery that wasn't made.

    Args:
        why: one line.
        final: the target will never take it.
        tried: whether this counts as a try.
    """

    why: str
    final: bool = False
    tried: bool = True


class Target(Protocol):
    """Something that takes deliveries. Used by one thread at a time."""

    batch: int
    """Deliveries that one `send` takes at most."""
    whole: bool
    """Whether several deliveries of one call may be in one `send`: all or none are made, or they
    are made one after the other until one fails."""
    linger: float
    """Seconds that deliveries may wait for others, to be sent together."""
    longest: float
    """Seconds that a `send` takes at most; another process may try after that."""

    def send(self, deliveries: Sequence[Delivery]) -> list[Failed | None]:
        """Try each: None for what was made. May raise for all of them."""

    def close(self) -> None:
        """No more will come."""


@checked(frozen=True, config=_STRICT)
class _Common:
    name: Name
    """In logs, metrics and the list of what could not be delivered."""
    events: tuple[EventType, ...] = USUAL
    """Which types it gets; of no meaning for format `chime`."""
    format: Format = "native"
    """`native`: the events of voicetone. `chime`: those of the tasks of the Chime-compatible
    interface, in that service's shape."""
    tries: Annotated[int, Field(ge=1, le=1000)] = 15
    """After so many an event is set aside as undeliverable, and kept with its call."""

    def wants(self, item: Item) -> bool:
        """Whether it gets this."""
        if item.type == CHIME:
            return self.format == "chime"
        return self.format == "native" and item.type in self.events


@checked(frozen=True, config=_STRICT)
class WebhookSettings(_Common):
    """An HTTP POST for each event, signed."""

    kind: Literal["webhook"] = "webhook"
    url: str = ""
    secret_env: str | None = None
    """Environment variable with the secret that signs what is sent."""
    secret_file: Path | None = None
    """Or a file with it."""
    timeout: Annotated[float, Field(gt=0, le=60)] = 10.0
    allow_http: bool = False
    """Also without TLS."""
    allow_private: bool = False
    """Also to private, loopback and link-local addresses."""
    senders: Annotated[int, Field(ge=1, le=32)] = 4
    """Requests at once, each for another call."""

    def __post_init__(self) -> None:
        """Check the address."""
        address_of(self.url, self.allow_http)


@checked(frozen=True, config=_STRICT)
class JsonlSettings(_Common):
    """One line of JSON for each event, in files by day."""

    kind: Literal["jsonl"] = "jsonl"
    folder: Path = Path("voicetone-events")
    fsync: bool = False
    """Write through to the disk before an event counts as delivered."""
    megabytes: Annotated[float, Field(gt=0, le=100_000)] = 100.0
    """A file is followed by the next of its day when it is larger."""


@checked(frozen=True, config=_STRICT)
class ParquetSettings(_Common):
    """Parquet files by day and queue, for a data lake."""

    kind: Literal["parquet"] = "parquet"
    folder: Path = Path("voicetone-lake")
    rows: Annotated[int, Field(ge=1, le=100_000)] = 5000
    """A file is written when so many events wait,"""
    seconds: Seconds = 300.0
    """or when one has waited so long."""


@checked(frozen=True, config=_STRICT)
class _Aws(_Common):
    region: str | None = None
    """Else as boto3 finds it."""
    endpoint_url: str | None = None
    """Of another service that speaks the same."""


@checked(frozen=True, config=_STRICT)
class SqsSettings(_Aws):
    """An SQS queue; one whose address ends with `.fifo` keeps the order of each call."""

    kind: Literal["sqs"] = "sqs"
    queue_url: str = ""


@checked(frozen=True, config=_STRICT)
class SnsSettings(_Aws):
    """An SNS topic."""

    kind: Literal["sns"] = "sns"
    topic_arn: str = ""


@checked(frozen=True, config=_STRICT)
class KinesisSettings(_Aws):
    """A Kinesis stream; a call's events are in one shard."""

    kind: Literal["kinesis"] = "kinesis"
    stream: str = ""


TargetSettings = Annotated[
    WebhookSettings | JsonlSettings | ParquetSettings | SqsSettings | SnsSettings | KinesisSettings,
    Field(discriminator="kind"),
]
AnyTarget = (
    WebhookSettings | JsonlSettings | ParquetSettings | SqsSettings | SnsSettings | KinesisSettings
)
assert get_args(TargetSettings)[0] == AnyTarget


def address_of(url: str, allow_http: bool) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a webhook's address.

    Raises:
        ValueError: it is none, has credentials in it, or is not HTTPS.
    """
    parts = urlsplit(url)
    scheme, host = parts.scheme, parts.hostname
    if scheme not in ("https", "http") or not host:
        raise ValueError("url: write https://HOST/PATH")
    if scheme == "http" and not allow_http:
        raise ValueError("url: http is sent in clear: use https, or set allow_http = true")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("url: no name, password or #part in it; the signature proves who sends")
    if any(c <= " " or c == "\x7f" for c in url) or not url.isascii():
        raise ValueError("url: write other characters as %XX")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return scheme, host, parts.port or (443 if scheme == "https" else 80), path


def secret_of(settings: WebhookSettings) -> bytes:
    """The secret that signs a webhook's requests.

    Raises:
        UsageError: it is missing or short.
    """
    where = f"target {settings.name}"
    if settings.secret_env is not None:
        text = os.environ.get(settings.secret_env, "")
        source = f"the environment variable {settings.secret_env}"
    elif settings.secret_file is not None:
        source = str(settings.secret_file)
        try:
            text = settings.secret_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where}: {source} can't be read: put its secret there") from error
    else:
        raise UsageError(f"{where}: no secret: set secret_env or secret_file")
    if len(text) < 16:
        raise UsageError(f"{where}: the secret in {source} has under 16 characters: make a longer")
    return text.encode()


def make_target(settings: AnyTarget) -> Target:
    """What sends, for one thread.

    Raises:
        UsageError, MissingExtraError: it can't be, and why.
    """
    match settings:
        case WebhookSettings():
            from voicetone.server.target_webhook import Webhook

            return Webhook(settings, secret_of(settings))
        case JsonlSettings():
            from voicetone.server.target_files import JsonLines

            return JsonLines(settings)
        case ParquetSettings():
            from voicetone.server.target_files import ParquetLake

            return ParquetLake(settings)
        case _:
            from voicetone.server.target_aws import make_aws

            return make_aws(settings)


def check_targets(targets: Sequence[AnyTarget]) -> None:
    """Look whether each could be made, at start and not at the first event.

    Raises:
        UsageError, MissingExtraError: the first that can't.
    """
    names = [target.name for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two targets are called {name}: give each a name of its own")
    for target in targets:
        make_target(target).close()


@dataclass(slots=True)
class Counts:
    """What a target got since the start."""

    sent: int = 0
    failed: int = 0
    dead: int = 0
    last_error: str | None = field(default=None)
