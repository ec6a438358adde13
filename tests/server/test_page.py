"""The page's board and feed: what viewers are told, in what order, and who may see it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from http.client import HTTPConnection, HTTPResponse
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.serving import START, Client, Command, quiet_settings, serving, speech

from voicetone.pretrained.predictor import Predictor
from voicetone.server import page_data
from voicetone.server.keys import KeySettings
from voicetone.server.page_data import Board, PageSettings, result_of
from voicetone.server.routes_page import FILES
from voicetone.server.store import StoreSettings

TIME = "2026-11-21T12:00:00.000Z"


@pytest.fixture(scope="module")
def port(predictor: Predictor) -> Iterator[int]:
    with serving(predictor, quiet_settings()) as (_, number):
        yield number


# -- events as the hub tells them ------------------------------------------------------------------


def event(call: str, type: str, **body: Any) -> dict[str, Any]:
    return {"type": type, "call": call, "seq": 1, "time": TIME, **body}


def created(call: str, **changes: Any) -> dict[str, Any]:
    body = {"external": None, "queue": None, "route": "native", "names": None, "analysed": [1]}
    return event(call, "session.created", **{**body, **changes})


def tone(call: str, end: float, negative: float, channel: int = 1) -> dict[str, Any]:
    sentiment = {"positive": 0.1, "neutral": 0.9 - negative, "negative": negative}
    current = {"end": end, "label": "negative", "sentiment": sentiment, "emotion": None}
    overall = {"speech_seconds": end, "label": None, "confidence": 0.4, "sentiment": sentiment}
    return event(call, "tone", channel=channel, end=end, current=current, overall=overall)


def closed(call: str) -> dict[str, Any]:
    overall = {"speech_seconds": 3.0, "label": "neutral", "confidence": 0.6, "sentiment": None}
    channels = [{"channel": 1, "flags": [], "overall": overall}]
    return event(call, "session.closed", reason="client", duration=9.0, channels=channels)


def alert(call: str) -> dict[str, Any]:
    return event(call, "alert", rule="r", kind="silence", channel=1, at=4.0, message="m")


class Mirror:
    """What a page makes of the messages, as its script does."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, Any]] = {}
        self.snapshots = 0

    def heard(self, message: dict[str, Any] | None) -> None:
        if message is None:
            return
        message = json.loads(json.dumps(message))
        if message["type"] == "snapshot":
            self.snapshots += 1
            self.calls = {}
        for call in message["calls"]:
            for channel in call["channels"]:
                self._join(self.calls.get(call["id"]), channel)
            self.calls[call["id"]] = call
        for id in message.get("gone", ()):
            del self.calls[id]

    @staticmethod
    def _join(before: dict[str, Any] | None, channel: dict[str, Any]) -> None:
        channel["total"] = channel["first"] + len(channel["points"])
        for old in before["channels"] if before else ():
            if old["channel"] == channel["channel"]:
                assert channel["first"] >= old["total"] or not channel["points"]
                if channel["first"] == old["total"]:
                    channel["points"] = old["points"] + channel["points"]
        last = channel["points"][-1][0] if channel["points"] else 0.0
        kept = [p for p in channel["points"] if p[0] >= last - page_data.SHOWN_SECONDS]
        channel["points"] = kept[-page_data.MOST_POINTS :]
        del channel["first"]

    @staticmethod
    def of(board: Board) -> dict[str, dict[str, Any]]:
        mirror = Mirror()
        mirror.heard(board.watch().next())
        return mirror.calls


STEP = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, 4)),
    st.tuples(st.just("tone"), st.integers(0, 4)),
    st.tuples(st.just("alert"), st.integers(0, 4)),
    st.tuples(st.just("close"), st.integers(0, 4)),
    st.tuples(st.just("look"), st.integers(0, 2)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=60))
def test_whoever_looks_whenever_sees_the_same(steps: list[tuple[str, int]]) -> None:
    """Quick and slow viewers, and the pages of another worker, end with what a new one sees."""
    board, other = Board(0), Board(1)
    viewers = [board.watch(), board.watch(), board.watch(own=True)]
    mirrors = [Mirror(), Mirror()]

    def look(which: int) -> None:
        message = viewers[which].next()
        if which < 2:
            mirrors[which].heard(message)
        elif message is not None:
            other.heard(json.loads(json.dumps(message)), 0)

    ends: dict[str, float] = {}
    for kind, number in steps:
        call = f"call {number}"
        if kind == "look":
            look(number)
        elif kind == "begin" and call not in ends:
            board.told(created(call))
            ends[call] = 0.0
        elif call in ends and kind == "tone":
            ends[call] += 2.5 + 40 * (number == 1)
            board.told(tone(call, ends[call], number / 10))
        elif call in ends and kind == "alert":
            board.told(alert(call))
        elif call in ends and kind == "close":
            board.told(closed(call))
    for which in range(3):
        look(which)
    assert mirrors[0].calls == mirrors[1].calls == Mirror.of(board)
    assert mirrors[0].snapshots == mirrors[1].snapshots == 1
    said = Mirror.of(other)
    for call in (*said.values(), *mirrors[0].calls.values()):
        for channel in call["channels"]:
            del channel["total"]
    assert said == mirrors[0].calls


def test_a_slow_viewer_is_told_all_anew_and_nothing_piles_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_data, "MOST_CHANGED", 10)
    board = Board(0)
    viewer, mirror = board.watch(), Mirror()
    mirror.heard(viewer.next())
    for number in range(300):
        board.told(created(str(number)))
        for end in range(5):
            board.told(tone(str(number), 2.5 * end, 0.5))
        assert viewer.waiting <= 10
    message = viewer.next()
    assert message is not None
    assert message["type"] == "snapshot"
    mirror.heard(message)
    assert mirror.calls == Mirror.of(board)
    board.told(tone("7", 50.0, 0.1))
    message = viewer.next()
    assert message is not None
    assert [call["id"] for call in message["calls"]] == ["7"]
    assert len(message["calls"][0]["channels"][0]["points"]) == 1


def test_a_call_of_hours_and_many_that_ended_stay_small() -> None:
    board = Board(0)
    viewer = board.watch()
    board.told(created("long"))
    for number in range(6000):
        board.told(tone("long", 2.5 * number, 0.5))
        board.told(alert("long"))
    view = board.calls["long"]
    assert len(view.channels[1].points) == 121
    assert len(view.head["alerts"]) == page_data.MOST_ALERTS
    viewer.next()
    for number in range(1000):
        board.told(created(f"short {number}"))
        board.told(closed(f"short {number}"))
    assert len(board.calls) == page_data.MOST_ENDED + 1
    viewer.next()
    assert len(viewer._known) == page_data.MOST_ENDED + 1


def test_another_workers_calls_are_shown_and_forgotten_alone() -> None:
    one, two = Board(0), Board(1)
    there = two.watch(own=True)
    two.told(created("b", names=["customer", "agent"], external="x"))
    two.told(tone("b", 5.0, 0.7))
    one.told(created("a"))
    one.heard(there.next() or {}, 1)
    assert set(one.calls) == {"a", "b"}
    assert one.calls["b"].to_dict({}) == two.calls["b"].to_dict({})
    one.heard({"type": "changes", "calls": [], "gone": ["a"]}, 1)  # not theirs to take
    assert set(one.calls) == {"a", "b"}
    one.heard({"type": "snapshot", "calls": []}, 1)
    assert set(one.calls) == {"a"}
    board = Board(2)
    mine = board.watch(own=True)
    mine.next()
    board.merge(two.calls["b"].to_dict({}), 1)
    assert mine.next() is None  # what came from others is not passed on


def test_events_of_calls_that_nobody_knows_are_none() -> None:
    board = Board(0)
    board.told(tone("who", 5.0, 0.5))
    board.told(closed("who"))
    assert board.calls == {}


# -- the report ------------------------------------------------------------------------------------


def test_a_stored_call_becomes_the_result_that_its_recording_would(predictor: Predictor) -> None:
    """Every part of a result comes from the events, as a client hears them."""
    with serving(predictor) as (_, port):
        call = Client(port, {**START, "call": "a/../b", "channel_names": ["customer"]})
        call.audio(speech(12.0))
        call.finish()
    result = result_of({"id": "1", "external": "a/../b"}, call.events)
    assert result.file == "a\u2215..\u2215b"
    assert result.duration == 12.0
    (channel,) = result.channels
    assert channel.name == "customer"
    assert [w.end for w in channel.windows] == [5.0, 7.5, 10.0, 12.0]
    assert len(channel.current) == 4
    assert channel.speech
    cut = result_of({"id": "-"}, [e for e in call.events if e["type"] != "session.closed"])
    assert cut.file == "call -"
    assert cut.duration == 12.0
    assert cut.channels[0].overall.to_dict() == channel.overall.to_dict()
    empty = result_of({"id": "2"}, [created("2", model="m")])
    assert empty.channels[0].overall.label is None


# -- over HTTP -------------------------------------------------------------------------------------


def get(port: int, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()


def test_all_files_are_there_with_strict_headers(port: int) -> None:
    folder = resources.files("voicetone.server").joinpath("page")
    assert {one.name for one in folder.iterdir()} == set(FILES)
    for name in ("/", *(f"/page/{name}" for name in FILES)):
        answer, body = get(port, name)
        assert answer.status == 200
        assert body
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        again, none = get(port, name, **{"If-None-Match": answer.headers["ETag"]})
        assert (again.status, none) == (304, b"")


def test_the_page_holds_no_script_or_style_inline_and_names_no_other_place(port: int) -> None:
    page = get(port, "/")[1].decode()
    assert "style=" not in page
    assert " on" not in page.split("<body>")[0]
    assert page.count("<script") == 1
    for name in FILES:
        text = get(port, f"/page/{name}")[1].decode()
        found = text.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in found.replace('"http:"', "")
        assert "innerHTML" not in found
        assert "eval(" not in found


@pytest.mark.parametrize(
    "path",
    ["/page/../page_data.py", "/page/%2e%2e/app.py", "/page/x", "/page/", "/page/page_data.py"],
)
def test_no_other_file_can_be_had(port: int, path: str) -> None:
    assert get(port, path)[0].status == 404


def test_the_private_feed_is_private(port: int) -> None:
    assert get(port, "/internal/feed")[0].status == 404


class Feed:
    """A viewer on a plain connection."""

    def __init__(self, port: int, **headers: str) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=10)
        self.connection.request("GET", "/v1/feed", headers=headers)
        self.answer = self.connection.getresponse()
        self.mirror = Mirror()

    def next(self) -> dict[str, Any]:
        while True:
            line = self.answer.readline().decode()
            assert line, "the feed ended"
            if line.startswith("data: "):
                message: dict[str, Any] = json.loads(line[6:])
                self.mirror.heard(message)
                return message

    def until(self, true: Any) -> None:
        last = time.monotonic() + 20
        while not true(self.mirror.calls):
            assert time.monotonic() < last, self.mirror.calls
            self.next()

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_the_feed_tells_a_call_from_beginning_to_end(port: int) -> None:
    feed = Feed(port)
    assert feed.answer.headers["Content-Type"].startswith("text/event-stream")
    assert feed.next()["type"] == "snapshot"
    call = Client(port, {**START, "call": "c", "queue": "q"})
    id = call.first["call"]
    feed.until(lambda calls: id in calls)
    assert feed.mirror.calls[id]["queue"] == "q"
    call.send({"type": "session.update", "queue": "r"})
    feed.until(lambda calls: calls[id]["queue"] == "r")
    call.audio(speech(9.0))
    feed.until(lambda calls: len(calls[id]["channels"][0]["points"]) == 2)
    heard = [e for e in call.events if e["type"] == "tone"]
    while len(heard) < 2:
        heard += [call.until("tone")]
    shown = feed.mirror.calls[id]["channels"][0]
    assert shown["sentiment"] == heard[-1]["current"]["sentiment"]
    end = call.finish()
    feed.until(lambda calls: calls[id]["ended"] is not None)
    assert feed.mirror.calls[id]["ended"]["reason"] == "client"
    overall = feed.mirror.calls[id]["channels"][0]["overall"]
    assert overall["sentiment"] == end["channels"][0]["overall"]["sentiment"]
    feed.close()


def test_only_so_many_viewers_and_each_that_leaves_makes_room(predictor: Predictor) -> None:
    some = replace(quiet_settings(), page=PageSettings(viewers=2))
    with serving(predictor, some) as (state, port):
        feeds = [Feed(port), Feed(port)]
        for feed in feeds:
            feed.next()
        answer, body = get(port, "/v1/feed")
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert json.loads(body)["code"] == "overloaded"
        for feed in feeds:
            feed.close()
        board = state.extras["page"].board
        last = time.monotonic() + 10
        while board.viewers:
            assert time.monotonic() < last
            time.sleep(0.02)
        again = Feed(port)
        assert again.next()["type"] == "snapshot"
        again.close()


def test_a_viewer_that_reads_nothing_is_let_go(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicetone.server.routes_page.STALLED_SECONDS", 0.3)
    monkeypatch.setattr("voicetone.server.routes_page.PACE_SECONDS", 0.0)
    with serving(predictor) as (state, port):
        board = state.extras["page"].board
        stalled = socket.socket()
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", port))
        stalled.send(b"GET /v1/feed HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        last = time.monotonic() + 10
        while not board.viewers:
            assert time.monotonic() < last
            time.sleep(0.01)
        loop = state.hub._sweeper.get_loop()  # type: ignore[union-attr]

        async def tell() -> None:
            for number in range(400):  # 8 MB, more than the system's buffers take
                board.told(created(str(number), external="x" * 20_000))

        while board.viewers:
            assert time.monotonic() < last + 10
            asyncio.run_coroutine_threadsafe(tell(), loop).result(5)
            time.sleep(0.05)
        stalled.close()
        assert get(port, "/v1/page")[0].status == 200


def test_without_the_right_key_there_is_nothing_to_see(predictor: Predictor) -> None:
    keys = (
        KeySettings("desk", ("read",), hash=sha256(b"reads").hexdigest()),
        KeySettings("line", ("stream",), hash=sha256(b"streams").hexdigest()),
    )
    with serving(predictor, quiet_settings(keys=keys)) as (_, port):
        about = json.loads(get(port, "/v1/page")[1])
        assert about["keys"] is True
        assert get(port, "/")[0].status == 200
        for path in ("/v1/feed", "/v1/calls/x/report"):
            assert get(port, path)[0].status == 401
            assert get(port, path, Authorization="Bearer streams")[0].status == 403
        assert get(port, "/v1/feed?key=reads")[0].status == 401
        feed = Feed(port, Authorization="Bearer reads")
        assert feed.next()["type"] == "snapshot"
        feed.close()


def test_the_page_can_be_switched_off(predictor: Predictor) -> None:
    off = replace(quiet_settings(), page=PageSettings(enabled=False))
    with serving(predictor, off) as (_, port):
        for path in ("/", "/page/app.js", "/v1/page", "/v1/feed"):
            assert get(port, path)[0].status == 404


def test_a_report_of_a_call_in_the_store(predictor: Predictor, tmp_path: Path) -> None:
    store = StoreSettings(url=f"sqlite:///{tmp_path}/store.db")
    with serving(predictor, quiet_settings(store=store)) as (_, port):
        call = Client(port, {**START, "call": "order 1"})
        call.audio(speech(8.0))
        call.finish()
        last = time.monotonic() + 10
        while (found := get(port, f"/v1/calls/{call.first['call']}/report"))[0].status != 200:
            assert time.monotonic() < last
            time.sleep(0.05)
        said = json.loads(found[1])
        assert "order 1" in said["html"]
        assert "Random weights" in said["html"] or "toy" in said["html"]
        assert get(port, "/v1/calls/nobody/report")[0].status == 404


def test_every_workers_page_shows_the_calls_of_all(bundle: Path, tmp_path: Path) -> None:
    server = Command(
        bundle, "--workers", "2", "--port", "0", "store.url=", f"run_folder={tmp_path}"
    )
    try:
        calls = [Client(server.port, {**START, "call": f"c{n}"}) for n in range(6)]
        ids = {call.first["call"] for call in calls}
        for _ in range(4):
            feed = Feed(server.port)
            feed.until(lambda known: ids <= set(known))
            feed.close()
        feed = Feed(server.port)
        feed.until(lambda known: ids <= set(known))
        for call in calls:
            call.audio(speech(6.0))
            call.finish()
        feed.until(lambda known: all(known[i]["ended"] for i in ids))
        for id in ids:
            assert len(feed.mirror.calls[id]["channels"][0]["points"]) == 2
        feed.close()
    finally:
        assert server.end() == 0
