"""The outbox: each target gets each event, in order, again until it takes it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.postgres import Postgres
from server.targets_help import DAY, Hook, event, hook, made, quick, until
from voicetone.server import outbox
from voicetone.server.clock import SystemClock
from voicetone.server.outbox import Sender, backoff
from voicetone.server.store import Store, StoreSettings
from voicetone.server.targets import (
    Counts,
    Delivery,
    Failed,
    JsonlSettings,
)

__all__ = ["hook", "quick"]  # fixtures


def test_a_webhook_gets_all_in_order_though_it_often_fails(tmp_path: Path, hook: Hook) -> None:
    tries: Counter[tuple[str, int]] = Counter()

    def often(body: dict[str, Any]) -> int:
        key = (body["call"], body["seq"])
        tries[key] += 1
        return 503 if tries[key] == 1 and body["seq"] % 4 == 0 else 204

    hook.answer = often
    stores = [made(tmp_path, hook.settings()) for _ in range(2)]  # two workers
    for store in stores:
        store.start()
    for seq in range(1, 21):
        for call in "abcdef":
            stores[ord(call) % 2].told(event(call, seq))
    stores[0].told(event("a", 21, "window"))  # of a type that it doesn't want
    until(lambda: len(hook.got) == 120)
    time.sleep(0.3)
    for store in stores:
        store.stop()
    assert len(hook.got) == 120
    assert hook.wrong == 0
    for call in "abcdef":
        assert [body["seq"] for body in hook.got if body["call"] == call] == list(range(1, 21))
    assert hook.got[0] == event(hook.got[0]["call"], 1).to_dict()
    assert {"Voicetone-Delivery", "User-Agent"} <= hook.headers[0].keys()
    sent = [store.health()["sent"]["hook"] for store in stores]
    assert sum(sent) == 120
    assert sum(store.health()["failed"]["hook"] for store in stores) == 30


def test_what_cannot_be_delivered_is_kept_and_can_be_sent_again(tmp_path: Path, hook: Hook) -> None:
    hook.answer = lambda body: {2: 500, 3: 400}.get(body["seq"], 204)
    store = made(tmp_path, hook.settings(tries=3))
    store.start()
    for seq in range(1, 6):
        store.told(event("a", seq))
    until(lambda: len(hook.got) == 3)
    assert [body["seq"] for body in hook.got] == [1, 4, 5]

    async def letters() -> list[dict[str, Any]]:
        return await store.dead_letters("hook")

    until(lambda: store.health()["dead"]["hook"] == 2)
    dead = asyncio.run(letters())
    assert [(d["body"]["seq"], d["tries"], d["error"]) for d in dead] == [
        (2, 3, "answered 500"),
        (3, 1, "answered 400"),
    ]
    hook.answer = lambda body: 204
    assert asyncio.run(store.retry([dead[0]["id"]])) == 1
    until(lambda: len(hook.got) == 4)
    assert asyncio.run(store.retry(target="other")) == 0
    assert asyncio.run(store.retry()) == 1
    until(lambda: len(hook.got) == 5)
    assert asyncio.run(letters()) == []
    store.stop()


def test_a_target_that_is_down_gets_all_later_and_holds_nobody_up(
    tmp_path: Path, hook: Hook
) -> None:
    hook.answer = lambda body: 503
    lines = JsonlSettings(name="lines", folder=tmp_path / "lines", events=("tone", "window"))
    store = made(tmp_path, hook.settings(), lines)
    store.start()
    for seq in range(1, 31):
        store.told(event("a", seq))
    until(lambda: store.health()["sent"]["lines"] == 30)
    assert hook.got == []
    store.stop()
    hook.answer = lambda body: 204
    again = made(tmp_path, hook.settings(), lines)
    again.start()
    until(lambda: len(hook.got) == 30)
    again.stop()
    (path,) = (tmp_path / "lines").iterdir()
    assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == list(range(1, 31))


def test_chime_events_go_where_they_are_wanted(tmp_path: Path, hook: Hook) -> None:
    lines = JsonlSettings(name="lines", folder=tmp_path / "lines")
    store = made(tmp_path, hook.settings(format="chime"), lines)
    store.start()
    store.told(event("a", 1))
    said = {"id": "e1", "detail-type": "VoiceToneAnalysisStatus", "detail": {"taskId": "t"}}
    store.told_chime("a", said)
    store.told(event("a", 2))
    until(lambda: hook.got and store.health()["sent"]["lines"] == 2)
    store.stop()
    assert hook.got == [said]


class Bent:
    """A wall clock that is set."""

    day = DAY

    def wall(self) -> float:
        return self.day

    def steady(self) -> float:
        return time.monotonic()


class Taker:
    """A target that notes what it gets, or fails."""

    batch, whole, linger, longest = 10, True, 0.0, 60.0

    def __init__(self) -> None:
        self.got: list[str] = []
        self.fails = False

    def send(self, deliveries: list[Delivery]) -> list[Failed | None]:
        if self.fails:
            raise OSError("away")
        self.got += [delivery.key for delivery in deliveries]
        return [None] * len(deliveries)

    def close(self) -> None:
        pass


def test_a_clock_set_back_or_forward_delays_nothing_for_long(tmp_path: Path) -> None:
    settings = JsonlSettings(name="t", folder=tmp_path / "unused")
    clock = Bent()
    store = Store(StoreSettings(url=f"sqlite:///{tmp_path}/x.db"), clock, [settings])
    store._senders.clear()  # this test sends
    store.start()
    store.told(event("a", 1))
    until(lambda: store.health()["stored"] == 1)
    sender, taker = Sender(store._database, settings, Counts(), clock), Taker()
    taker.fails = True
    clock.day = DAY + 5
    assert sender.once(taker)  # fails: due a little later
    assert not sender.once(taker)
    clock.day = DAY - 1e6  # that is far in the future now
    taker.fails = False
    assert sender.once(taker)
    assert taker.got == ["1"]
    # A lease of a process that died runs out, and one that the clock left far ahead as well.
    store.told(event("a", 2))
    until(lambda: store.health()["stored"] == 2)
    other = Sender(store._database, settings, Counts(), clock)
    clock.day = DAY
    assert len(other._claim(taker)) == 1
    assert not sender.once(taker)
    clock.day = DAY + 61
    assert sender.once(taker)
    assert taker.got == ["1", "2"]
    store.stop()


@given(st.integers(1, 2000), st.floats(0, 1))
def test_waits_grow_to_a_bound(tries: int, chance: float) -> None:
    wait = backoff(tries, chance)
    assert 0 < wait <= outbox.LONGEST_BACKOFF
    assert wait <= 2 * backoff(tries + 1, chance)


def test_deliveries_outlive_a_database_that_is_killed(tmp_path: Path, hook: Hook) -> None:
    with Postgres() as postgres:
        settings = StoreSettings(url=postgres.url, spill=tmp_path / "spill")
        stores = [Store(settings, SystemClock(), [hook.settings(senders=2)]) for _ in range(2)]
        for store in stores:
            store.start()
        told = 0

        def tell(count: int) -> None:
            nonlocal told
            for _ in range(count):
                told += 1
                for at, call in enumerate("abcd"):
                    stores[at % 2].told(event(call, told))

        tell(30)
        until(lambda: len(hook.got) > 20)
        postgres.kill()
        tell(20)
        until(lambda: all(store.health()["away"] for store in stores))
        postgres.start()
        tell(10)

        def got(call: str) -> list[int]:
            seqs = [body["seq"] for body in list(hook.got) if body["call"] == call]
            return list(dict.fromkeys(seqs))  # each once: those sent while it died come again

        until(lambda: sum(len(got(call)) for call in "abcd") == 4 * told, 60)
        for store in stores:
            store.stop()
    for call in "abcd":
        assert got(call) == list(range(1, told + 1))
    assert len(hook.got) < 4 * told + 100
