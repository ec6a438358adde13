"""What an operator sets: a TOML file, then the environment, then words of the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from voicetone.errors import DataError, UsageError
from voicetone.server.alerts import AlertSettings
from voicetone.server.audiohook import AudioHookSettings
from voicetone.server.audiosocket import AudioSocketSettings
from voicetone.server.chime_tasks import ChimeSettings
from voicetone.server.hub import Limits
from voicetone.server.incoming import first_problem
from voicetone.server.jobs import FileSettings
from voicetone.server.keys import KeySettings
from voicetone.server.page_data import PageSettings
from voicetone.server.store import StoreSettings
from voicetone.server.targets import TargetSettings
from voicetone.server.twilio import TwilioSettings
from voicetone.server.voices import VoiceSettings

PREFIX = "VOICETONE_SERVER__"
MOST_BYTES = 1 << 20
"""A settings file of more is none."""

NOTICE = (
    "This call is analysed by software that estimates from your voice whether you sound positive, "
    "neutral or negative. No sound is kept. You may ask not to be analysed, and to have the "
    "results deleted."
)

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class TlsSettings:
    """TLS of the public address; the private sockets between workers have none.

    Args:
        certificate: PEM file with the chain.
        key: PEM file of its private key.
        client_ca: PEM file; clients must then show a certificate that it signed.
    """

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs certificate and key")


@dataclass(frozen=True, config=_STRICT)
class Settings:
    """All of the server's settings. `Settings()` is a server for this machine alone.

    Args:
        host: address to listen on.
        port: TCP port; 0 for any that is free.
        workers: processes, one per core that the server may have.
        model: installed bundle or a bundle's folder; the usual default without one.
        run_folder: for the workers' private sockets; a temporary one by default.
        origins: web origins, such as `https://desk.example`, that browsers may connect from
            besides the server's own.
        keys: credentials.
        keys_file: TOML file with more `[[keys]]`.
        connections: requests and WebSockets at once, per worker.
        request_bytes: of a request's body, where a route sets no limit of its own.
        resume_seconds: that a call is held for a client whose connection was cut.
        bad_messages: that a client may send in a minute before it is cut off.
        outgoing: events that may wait for a slow reader before it is cut off.
        drain_seconds: that calls in progress have to end when the server goes down.
        notice: what people who are heard are told; served under `/v1/notice`.
        limits: what each worker takes on.
        tls: of the public address.
        files: recordings and texts.
        twilio: Twilio Media Streams.
        audiohook: Genesys AudioHook.
        audiosocket: Asterisk AudioSocket.
        chime: the cloud's own operations.
        store: where results are kept.
        targets: where events go besides.
        alerts: what is alarming.
        page: the web page.
        voices: enrolled speakers.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    model: str | None = None
    run_folder: Path | None = None
    origins: tuple[str, ...] = ()
    keys: tuple[KeySettings, ...] = ()
    keys_file: Path | None = None
    connections: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    request_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 1 << 20
    resume_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    bad_messages: Annotated[int, Field(ge=0, le=10_000)] = 20
    outgoing: Annotated[int, Field(ge=16, le=100_000)] = 256
    drain_seconds: Annotated[float, Field(ge=0, le=86_400)] = 20.0
    notice: Annotated[str, Field(min_length=1, max_length=4000)] = NOTICE
    limits: Limits = field(default_factory=Limits)
    tls: TlsSettings = field(default_factory=TlsSettings)
    files: FileSettings = field(default_factory=FileSettings)
    twilio: TwilioSettings = field(default_factory=TwilioSettings)
    audiohook: AudioHookSettings = field(default_factory=AudioHookSettings)
    audiosocket: AudioSocketSettings = field(default_factory=AudioSocketSettings)
    chime: ChimeSettings = field(default_factory=ChimeSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    targets: tuple[TargetSettings, ...] = ()
    alerts: AlertSettings = field(default_factory=AlertSettings)
    page: PageSettings = field(default_factory=PageSettings)
    voices: VoiceSettings = field(default_factory=VoiceSettings)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def read_settings(
    path: Path | None = None,
    words: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings after the environment's and the command line's changes.

    Args:
        path: the TOML file; without one, the defaults.
        words: `key=value` or `table.key=value`; the value is TOML, or else a string.
        environment: variables; of them `VOICETONE_SERVER__TABLE__KEY` are read.

    Raises:
        DataError: a file that is missing, not TOML, or has a key or value that can't be.
        UsageError: the same for a word or a variable.
    """
    data = {} if path is None else _read(path)
    here = str(path) if path is not None else "the settings"
    given = _settings(data, here, DataError, path.parent if path is not None else None)
    changes = [*_from_environment(environment or {}), *map(_from_word, words)]
    for where, keys, value in changes:
        _put(data, keys, value, where)
    if not changes:
        return given
    blamed = ", ".join(dict.fromkeys(where for where, _, _ in changes))
    return _settings(data, blamed, UsageError, path.parent if path is not None else None)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"{path}: can't be read ({error.strerror or error}): name a TOML file"
        ) from error
    if len(text) > MOST_BYTES:
        raise DataError(f"{path}: more than {MOST_BYTES >> 20} MiB: name a file of settings")
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not a TOML file ({error}); mend it") from error


Change = tuple[str, list[str], Any]
"""Where it was said, the key with its tables, the value."""


def _from_environment(environment: Mapping[str, str]) -> Iterable[Change]:
    for name in sorted(environment):
        if name.startswith(PREFIX):
            yield name, name.removeprefix(PREFIX).lower().split("__"), _value(environment[name])


def _from_word(word: str) -> Change:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise UsageError(f"{word!r} is no setting: write key=value")
    return word, key.split("."), _value(text)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _put(data: dict[str, Any], keys: Sequence[str], value: Any, where: str) -> None:
    *parents, last = keys
    table: Any = data
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise UsageError(f"{where}: {parent} is no table of settings")
    table[last] = value


def _settings(
    data: dict[str, Any], where: str, kind: type[DataError | UsageError], folder: Path | None
) -> Settings:
    data = dict(data)
    named = data.get("keys_file")
    if isinstance(named, str):
        file = (folder or Path()) / named
        more = _read(file)
        if set(more) - {"keys"}:
            raise DataError(f"{file}: holds more than [[keys]]: move that to the settings' file")
        own = data.get("keys", [])
        theirs = more.get("keys", [])
        _valid(KeysFile, {"keys": theirs}, str(file), DataError)  # else this one were blamed
        data["keys"] = [*(own if isinstance(own, list) else []), *theirs]
    return _valid(Settings, data, where, kind)


@dataclass(frozen=True, config=_STRICT)
class KeysFile:
    """What `keys_file` holds."""

    keys: tuple[KeySettings, ...] = ()


T = TypeVar("T")


def _valid(
    form: type[T], data: Mapping[str, Any], where: str, kind: type[DataError | UsageError]
) -> T:
    try:
        return TypeAdapter(form).validate_python(data)
    except ValidationError as error:
        key, said = first_problem(error)
        if error.errors()[0]["type"] == "unexpected_keyword_argument":
            said = "no such key"
        raise kind(f"{where}: {key or 'the settings'}: {said}; mend it") from error


def override(
    settings: Settings,
    *,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    **values: Any,
) -> Settings:
    """The settings with the options of the command line; None changes nothing.

    Raises:
        UsageError: a value that can't be.
    """
    changes = {key: value for key, value in values.items() if value is not None}
    try:
        if tls_certificate is not None or tls_key is not None:
            changes["tls"] = replace(
                settings.tls,
                certificate=tls_certificate or settings.tls.certificate,
                key=tls_key or settings.tls.key,
            )
        return replace(settings, **changes)
    except ValidationError as error:
        key, said = first_problem(error)
        raise UsageError(f"--{key or 'tls'}: {said}: give another value") from error
