"""Keys, scopes, rate limits, tickets."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest

from voicetone.errors import DataError, UsageError
from voicetone.server.keys import LOCAL, Keys, KeySettings, bearer, new_key
from voicetone.server.refusal import RefusedError
from voicetone.server.tickets import Tickets, in_protocols, worker_of


class BentClock:
    """Both clocks as a test sets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return 1.7e9

    def steady(self) -> float:
        return self.now


def entry(key: str, name: str = "desk", **more: object) -> KeySettings:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return KeySettings(**{"name": name, "hash": digest, "scopes": ("read",), **more})  # type: ignore[arg-type]


def refused(keys: Keys, presented: str | None, scope: str) -> str:
    with pytest.raises(RefusedError) as error:
        keys.check(presented, scope)  # type: ignore[arg-type]
    return error.value.code


def test_a_new_key_opens_what_its_entry_says() -> None:
    key, text = new_key("desk")
    assert key not in text
    made = KeySettings(**tomllib.loads(text)["keys"][0])
    keys = Keys([made])
    assert keys.check(key, "read").name == "desk"
    assert new_key("desk")[0] != key
    assert len(key) >= 43  # 32 bytes
    for wrong in ("", "a b", 'a"', "a\n"):
        with pytest.raises(UsageError, match="a key's name"):
            new_key(wrong)


def test_wrong_keys_and_scopes() -> None:
    keys = Keys([entry("right"), entry("other", "pbx", scopes=("telephony",), consent=True)])
    for wrong in (None, "", "Right", "right ", "x" * 100_000, "\ud800", "\0"):
        assert refused(keys, wrong, "read") == "unauthorised"
    assert refused(keys, "right", "stream") == "forbidden"
    assert keys.check("other", "telephony").consent
    assert keys.granted("pbx", "telephony").name == "pbx"
    with pytest.raises(RefusedError):
        keys.granted("nobody", "telephony")


def test_without_keys_everything_is_open_and_says_so() -> None:
    keys = Keys()
    assert keys.open
    assert keys.check(None, "delete") is LOCAL
    assert not keys.check(None, "stream").consent
    assert not Keys([entry("right")]).open


def test_a_key_begins_so_many_calls_per_minute() -> None:
    clock = BentClock()
    keys = Keys([entry("k", scopes=("stream", "read"), calls_per_minute=2)], clock)
    keys.check("k", "stream")
    keys.check("k", "stream")
    with pytest.raises(RefusedError) as error:
        keys.check("k", "stream")
    assert error.value.code == "rate_limited"
    assert error.value.retry_after == pytest.approx(30.0)
    keys.check("k", "read")  # looking is not limited
    keys.check("k", "stream", counted=False)
    clock.now = 30.1
    keys.check("k", "stream")
    assert refused(keys, "k", "stream") == "rate_limited"


def test_secrets_come_from_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_SECRET", "abc")
    (tmp_path / "secret").write_text("def\n")
    one = KeySettings(name="a", scopes=("chime",), secret_env="A_SECRET")
    two = KeySettings(name="b", scopes=("chime",), secret_file=tmp_path / "secret")
    keys = Keys([one, two])
    assert (keys.secret("a"), keys.secret("b"), keys.secret("c")) == (b"abc", b"def", None)
    assert refused(keys, "abc", "chime") == "unauthorised"  # a secret is never presented
    monkeypatch.delenv("A_SECRET")
    with pytest.raises(DataError, match="A_SECRET is not set"):
        Keys([one])
    (tmp_path / "secret").write_text("")
    with pytest.raises(DataError, match="is empty"):
        Keys([two])
    (tmp_path / "secret").unlink()
    with pytest.raises(DataError, match="can't be read"):
        Keys([two])
    with pytest.raises(DataError, match="two keys have one name"):
        Keys([entry("x"), entry("y")])


def test_bearer() -> None:
    assert bearer("Bearer abc") == "abc"
    assert bearer("bearer  abc ") == "abc"
    for wrong in (None, "", "Bearer", "Bearer ", "Basic abc", "abc"):
        assert bearer(wrong) is None


def test_a_ticket_is_good_once_and_for_a_minute() -> None:
    clock = BentClock()
    tickets = Tickets(3, clock)
    one, two = tickets.issue("desk"), tickets.issue("pbx")
    assert worker_of(one) == 3
    assert tickets.redeem(two) == "pbx"
    assert tickets.redeem(one) == "desk"
    late = tickets.issue("desk")
    clock.now = 60.1
    for wrong in (one, late, "", ".", "3.", "3.abc", "é"):
        with pytest.raises(RefusedError) as error:
            tickets.redeem(wrong)
        assert error.value.code == "unauthorised"


def test_tickets_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicetone.server.tickets.MOST", 10)
    tickets = Tickets(0, BentClock())
    issued = [tickets.issue("desk") for _ in range(25)]
    assert len(tickets._out) == 10
    assert tickets.redeem(issued[-1]) == "desk"


def test_what_says_which_worker() -> None:
    assert worker_of("0.x") == 0
    for wrong in ("", "x", "-1.a", "²3.a", "99999999.a"):
        assert worker_of(wrong) is None
    assert in_protocols(["voicetone.v1", "voicetone.ticket.0.a"]) == "0.a"
    assert in_protocols(["voicetone.v1"]) is None
