"""The store, on both databases, through deaths of either side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from server.postgres import Postgres
from voicetone.errors import UsageError
from voicetone.server.events import CallEvent, EventType
from voicetone.server.refusal import RefusedError
from voicetone.server.store import Store, StoreAwayError, StoreSettings, make_store
from voicetone.server.store_queries import delete_old, end_lost
from voicetone.server.store_spill import Item, Spill, from_line, to_line
from voicetone.server.store_tables import calls, deleted, deliveries, events, lanes
from voicetone.server.store_writer import Housekeeper
from voicetone.server.targets import AnyTarget, JsonlSettings

DAY = 1_700_000_000.0


class BentClock:
    """A wall clock as a test sets it, beside the true steady one."""

    def __init__(self) -> None:
        self.day, self.now = DAY, None

    def wall(self) -> float:
        return self.day

    def steady(self) -> float:
        return time.monotonic() if self.now is None else self.now


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/calls.db"
    server: Postgres = request.getfixturevalue("postgres")
    engine = sa.create_engine(server.url)
    with engine.begin() as connection:
        for table in (calls, events, deleted, deliveries, lanes):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table.name}"))
    engine.dispose()
    return server.url


@pytest.fixture
def clock() -> BentClock:
    return BentClock()


def made(url: str, clock: BentClock, tmp_path: Path, *targets: AnyTarget, **settings: Any) -> Store:
    store = make_store(StoreSettings(url=url, spill=tmp_path / "spill", **settings), targets, clock)
    assert store is not None
    return store


def event(
    call: str, seq: int, type: EventType = "window", body: dict[str, Any] | None = None
) -> CallEvent:
    channel = 1 if type in ("window", "tone") else None
    usual = {"end": 2.5 * (seq + 1)} if type == "window" else {}
    return CallEvent(call, seq, DAY + seq, type, channel, usual if body is None else body)


def until(done: Callable[[], object], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.02)


def settled(store: Store) -> None:
    until(lambda: not store.health()["queued"] and not store.health()["spilled"])


def rows(store: Store, table: sa.Table) -> list[Any]:
    with store._database.read.connect() as connection:
        return list(connection.execute(sa.select(table)))


def tone(label: str, negative: float, end: float) -> dict[str, Any]:
    scores = {"positive": 0.1, "neutral": 0.9 - negative, "negative": negative}
    return {
        "end": end,
        "current": {"end": end, "label": label, "sentiment": scores, "emotion": None},
        "overall": {"speech_seconds": end, "label": label, "sentiment": scores},
    }


STARTED: dict[str, Any] = {
    "route": "native",
    "external": "CA1",
    "queue": "billing",
    "model": "m",
    "channels": 1,
    "names": ["customer"],
    "analysed": [1],
    "metadata": {"odd": "a\0b\ud800"},
}


def a_call(store: Store, id: str) -> None:
    store.told(event(id, 1, "session.created", STARTED))
    for seq in range(2, 20):
        store.told(event(id, seq, "tone", tone("negative", 0.8, seq * 2.5)))
    store.told(event(id, 20, "alert", {"rule": "r"}))
    store.told(event(id, 21, "session.updated", {"queue": "tech\0\ud800"}))
    ended = {"reason": "client", "duration": 50.0, "channels": []}
    store.told(event(id, 22, "session.closed", ended))


def test_a_call_is_told_again_as_it_was(url: str, clock: BentClock, tmp_path: Path) -> None:
    store = made(url, clock, tmp_path)
    store.start()
    for id in ("one", "two"):
        a_call(store, id)
        a_call(store, id)  # each event once, however often it is told
    settled(store)

    async def look() -> None:
        assert await store.ready()
        told = await store.events("one")
        assert [e["seq"] for e in told] == list(range(1, 23))
        assert told[0]["metadata"] == STARTED["metadata"]
        assert told[3] == event("one", 4, "tone", tone("negative", 0.8, 10.0)).to_dict()
        assert [e["seq"] for e in await store.events("one", after=20, limit=1)] == [21]
        call = await store.call("one")
        assert call is not None
        assert (call["queue"], call["external"], call["alerts"]) == ("tech\ufffd?", "CA1", 1)
        assert (call["reason"], call["duration"], call["ended"]) == ("client", 50.0, DAY + 22)
        assert call["tone"] == [
            {
                "channel": 1,
                "speech_seconds": 47.5,
                "label": "negative",
                "negative": 0.8,
                "turned": 5.0,
            }
        ]
        first = await store.calls(limit=1)
        second = await store.calls(limit=1, before=first[0]["cursor"])
        assert [c["id"] for c in first + second] == ["two", "one"]
        assert await store.calls(before=second[0]["cursor"]) == []
        assert len(await store.calls(external="CA1", since=DAY, until=DAY + 60)) == 2
        assert await store.calls(queue="none") == []
        assert (await store.last("one")) == (22, 0.0)
        assert await store.last("none") is None
        assert await store.call("none") is None
        summary = await store.summary()
        assert summary["total"]["calls"] == summary["total"]["negative_calls"] == 2
        assert summary["days"][0]["turned_at"][1] == 2
        with pytest.raises(RefusedError, match="cursor"):
            await store.calls(before="nonsense")

    asyncio.run(look())
    store.stop()
    assert store.health()["bad"] == store.health()["lost"] == 0


def test_deleted_is_deleted(url: str, clock: BentClock, tmp_path: Path) -> None:
    target = JsonlSettings(name="lines", folder=tmp_path / "file-in-the-way")
    target.folder.write_text("no folder")  # so that deliveries wait
    store = made(url, clock, tmp_path, target)
    store.start()
    a_call(store, "one")
    a_call(store, "two")
    settled(store)
    until(lambda: store.health()["failed"]["lines"] >= 2)

    async def delete() -> None:
        assert await store.delete_call("one")
        store.told(event("one", 23, "error", {"code": "late"}))
        assert not await store.delete_call("one")
        await asyncio.sleep(0.5)
        assert await store.call("one") is None
        assert not await store.delete_call("x" * 10_000)

    asyncio.run(delete())
    settled(store)
    for table, name in ((calls, "id"), (events, "call"), (deliveries, "call"), (lanes, "call")):
        assert {getattr(row, name) for row in rows(store, table)} == {"two"}, table.name
    store.stop()
    if url.startswith("sqlite"):
        data = b"".join(path.read_bytes() for path in tmp_path.glob("calls.db*"))
        assert data.count(b"two") > data.count(b"one") - data.count(b"none")


def test_old_calls_go_and_a_clock_set_back_deletes_nothing(
    url: str, clock: BentClock, tmp_path: Path
) -> None:
    store = made(url, clock, tmp_path, retention_days=1.0)
    store.start()
    a_call(store, "one")
    store.told(event("lost", 1, "session.created", STARTED))
    settled(store)
    store._keep_house(DAY - 1e7)
    store._keep_house(DAY + 86400)
    ended = {row.id: row.reason for row in rows(store, calls)}
    assert ended == {"one": "client", "lost": "lost"}
    store._keep_house(DAY + 86400 + 23)
    assert rows(store, calls) == rows(store, events) == rows(store, deleted) == []
    store.stop()


def test_the_wall_clock_is_believed_once_it_keeps_pace() -> None:
    clock = BentClock()
    clock.now = 0.0
    keeper = Housekeeper(clock)
    assert keeper.due() is None

    def after(steady: float, wall: float) -> float | None:
        clock.now, clock.day = clock.now + steady, clock.day + wall
        return keeper.due()

    assert after(301.0, 301.0) == clock.day
    assert after(1.0, 1.0) is None
    assert after(3600.0, 3600.0) == clock.day
    assert after(3600.0, 90 * 86400.0) is None  # set forward: wait whether it stays so
    assert after(3600.0, 3600.0 - 90 * 86400.0) is None
    assert after(3600.0, 3600.0) == clock.day
    assert after(3600.0, -86400.0) is None


def test_events_outlive_a_database_that_is_killed(
    postgres: Postgres, clock: BentClock, tmp_path: Path
) -> None:
    store = made(postgres.url, clock, tmp_path, memory_events=300)
    store.start()
    going, told = threading.Event(), 0
    slowest = 0.0

    def tell() -> None:
        nonlocal told, slowest
        while not going.is_set():
            began = time.perf_counter()
            for _ in range(20):
                told += 1
                store.told(event(f"kill-{told % 7}", told, "window"))
            slowest = max(slowest, time.perf_counter() - began)
            time.sleep(0.01)

    teller = threading.Thread(target=tell)
    teller.start()
    until(lambda: store.health()["stored"] > 200)
    postgres.kill()
    until(lambda: store.health()["away"] and store.health()["spilled"] > 1000)
    with pytest.raises(StoreAwayError):
        asyncio.run(store.call("kill-1"))
    assert not asyncio.run(store.ready())
    postgres.start()
    until(lambda: not store.health()["away"] and store.health()["spilled"] == 0)
    going.set()
    teller.join()
    settled(store)
    seqs = [row.seq for row in rows(store, events) if row.call.startswith("kill-")]
    assert sorted(seqs) == list(range(1, told + 1))
    assert slowest < 2  # who tells is not held up, however busy the machine is
    assert store.health()["lost"] == 0
    store.stop()
    assert list((tmp_path / "spill").iterdir()) == []


CHILD = """
import sys, time
from pathlib import Path
from voicetone.server.clock import SystemClock
from voicetone.server.events import CallEvent
from voicetone.server.refusal import RefusedError
from voicetone.server.store import Store, StoreSettings
store = Store(StoreSettings(url=sys.argv[1], spill=Path(sys.argv[2])), SystemClock())
store.start()
seq = 0
while True:
    seq += 1
    store.told(CallEvent("call", seq, 1.7e9, "window", 1, {"end": 1.0}))
    if seq % 50 == 0:
        time.sleep(0.01)
        print(store.health()["stored"], flush=True)
"""


def test_what_was_committed_outlives_a_process_that_is_killed(url: str, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(tmp_path / "spill")], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    stored = 0
    try:
        while stored < 2000:
            stored = int(child.stdout.readline())
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
    store = made(url, BentClock(), tmp_path)
    store.start()
    seqs = sorted(row.seq for row in rows(store, events))
    assert len(seqs) >= stored
    assert seqs == list(range(1, len(seqs) + 1))
    store.stop()


def test_what_waits_at_the_end_is_stored_at_the_next_start(
    clock: BentClock, tmp_path: Path
) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    url = f"sqlite:///{folder}/calls.db"
    store = made(url, clock, tmp_path)
    folder.rmdir()
    store.start()
    a_call(store, "one")
    store.stop()
    assert store.health()["away"]
    assert store.health()["lost"] == 0
    (waiting,) = (tmp_path / "spill").iterdir()
    assert waiting.stat().st_mode & 0o077 == 0
    with waiting.open("ab") as file:
        file.write(b'["torn')
    folder.mkdir()
    again = made(url, clock, tmp_path)
    again.start()
    settled(again)
    assert [row.seq for row in rows(again, events)] == list(range(1, 23))
    again.stop()
    assert not waiting.exists()


def test_two_stores_share_a_database(url: str, clock: BentClock, tmp_path: Path) -> None:
    stores = [made(url, clock, tmp_path) for _ in range(2)]
    for store in stores:
        store.start()
    for seq in range(1, 1001):
        stores[seq % 2].told(event("one", seq))
        stores[0].told(event("both", seq))
        stores[1].told(event("both", seq))
    for store in stores:
        settled(store)
    seqs = [row.seq for row in rows(stores[0], events) if row.call == "one"]
    assert sorted(seqs) == list(range(1, 1001))
    assert len(rows(stores[0], events)) == 2000
    call = asyncio.run(stores[0].call("one"))
    assert call is not None
    assert call["last_seq"] == 1000
    for store in stores:
        store.stop()


def test_an_event_that_no_database_takes_costs_nothing_else(
    url: str, clock: BentClock, tmp_path: Path
) -> None:
    store = made(url, clock, tmp_path)
    store.start()
    for seq in range(1, 50):
        wrong: Any = {"end": float("nan")} if seq == 7 else {"end": object()}
        store.told(event("one", seq, "window", wrong if seq in (7, 30) else None))
    settled(store)
    assert [row.seq for row in rows(store, events)] == [s for s in range(1, 50) if s not in (7, 30)]
    assert store.health()["bad"] == 2
    store.stop()


def test_the_log_says_when_a_database_is_away_and_when_it_is_back(
    clock: BentClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "calls.db"
    file.write_text("this is no database, and never was one " * 100)
    store = made(f"sqlite:///{file}", clock, tmp_path)
    store.told(event("one", 1, "window"))
    store.start()
    until(lambda: store.health()["away"])
    file.unlink()
    until(lambda: store.health()["stored"] == 1 and not store.health()["away"])
    store.stop()
    said = [r.getMessage() for r in caplog.records if r.name.endswith("store_writer")]
    assert ["away" in said[0], said[1:]] == [True, ["the database is back"]], said


def test_nobody_waits_behind_a_database_that_hangs(
    clock: BentClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicetone.server.store.HUNG_SECONDS", 0.1)
    monkeypatch.setattr("voicetone.server.store.QUEUE_SECONDS", 0.3)
    store = made(f"sqlite:///{tmp_path}/calls.db", clock, tmp_path)
    store.start()
    goes_on = threading.Event()

    def hang(connection: sa.Connection) -> int:
        assert goes_on.wait(30)
        return 1

    async def ask() -> None:
        hung = [asyncio.create_task(store._read(hang)) for _ in range(4)]
        waits = asyncio.create_task(store.calls())  # not yet known to hang: it is queued
        await asyncio.sleep(0.5)
        began = time.monotonic()
        with pytest.raises(StoreAwayError):
            await store.calls()
        assert time.monotonic() - began < 0.3
        goes_on.set()
        assert await asyncio.gather(*hung) == [1] * 4
        with pytest.raises(StoreAwayError):
            await waits  # whoever asked is long gone
        assert await store.calls() == []
        # Many at once are no reason to refuse one.
        assert await asyncio.gather(*(store.calls() for _ in range(30))) == [[]] * 30

    asyncio.run(ask())
    store.stop()


def test_disk_as_a_queue(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill", 10_000)
    items = [Item("c", seq, str(seq), DAY, "window", 1, {"end": seq}) for seq in range(500)]
    assert spill.add(items[:10]) == 10
    assert spill.add(items[10:20]) == 10
    kept = spill.add(items[20:])
    assert 0 < kept < 480  # the room is used up
    assert spill.add(items[20:]) == 0
    other = Spill(tmp_path / "spill", 10_000)
    other.adopt()
    assert not other  # they have an owner
    assert spill.oldest() == items[:10]
    spill.done()
    spill.close()
    other.adopt()
    assert other.events == 10 + kept
    assert other.oldest() == items[10:20]
    other.close()


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[1,2]", b'["c",1,"1",1.0,"t",1,3]', b"\xff", b"[" * 5000]
)
def test_a_damaged_line_is_left_out(line: bytes) -> None:
    assert from_line(line) is None


def test_a_line_is_its_item() -> None:
    item = Item("c", None, "k", DAY, "chime", None, {"a": ["\0\ud800", 1.5]})
    assert from_line(to_line(item).encode()) == item
    assert json.loads(to_line(item))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////nonexistent/folder/x.db", "no folder"),
        ("mysql://host/x", "not supported"),
        ("nonsense", "no database address"),
        ("postgresql+nothing://x", "no database address|missing"),
    ],
)
def test_settings_that_cannot_be(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_store(StoreSettings(url=url))


def test_targets_need_a_store(tmp_path: Path) -> None:
    target = JsonlSettings(name="a", folder=tmp_path)
    assert make_store(StoreSettings(url="")) is None
    with pytest.raises(UsageError, match="targets need the store"):
        make_store(StoreSettings(url=""), [target])
    with pytest.raises(UsageError, match="two targets are called a"):
        make_store(StoreSettings(url=f"sqlite:///{tmp_path}/x.db"), [target, target])


def test_housekeeping_in_pieces(clock: BentClock, tmp_path: Path) -> None:
    store = made(f"sqlite:///{tmp_path}/x.db", clock, tmp_path)
    store.start()
    for number in range(450):
        store.told(event(f"c{number}", 1))
    settled(store)
    assert delete_old(store._database, DAY) == 0
    assert delete_old(store._database, DAY + 2) == 450
    end_lost(store._database, DAY)
    store.stop()
