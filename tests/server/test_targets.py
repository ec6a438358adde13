"""Targets: each gets each event, in order, again until it takes it, and nobody else does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from voicetone.errors import UsageError
from voicetone.server import outbox
from voicetone.server.clock import SystemClock
from voicetone.server.events import CallEvent, EventType
from voicetone.server.outbox import Sender, backoff
from voicetone.server.store import Store, StoreSettings
from voicetone.server.target_aws import Kinesis, Sqs, make_aws
from voicetone.server.target_files import JsonLines, ParquetLake, partition
from voicetone.server.target_webhook import Webhook, is_public, resolve, signature
from voicetone.server.targets import (
    AnyTarget,
    Counts,
    Delivery,
    Failed,
    JsonlSettings,
    KinesisSettings,
    ParquetSettings,
    SnsSettings,
    SqsSettings,
    TargetSettings,
    WebhookSettings,
    make_target,
)

DAY = 1_700_000_000.0
SECRET = "a secret of the tests, long enough"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "FIRST_BACKOFF", 0.05)
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


def event(call: str, seq: int, type: EventType = "tone", **body: Any) -> CallEvent:
    return CallEvent(call, seq, DAY + seq, type, 1, {"end": 2.5 * seq, **body})


def until(done: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.02)


def made(tmp_path: Path, *targets: AnyTarget) -> Store:
    url = f"sqlite:///{tmp_path}/calls.db"
    return Store(StoreSettings(url=url), SystemClock(), targets)


class Hook:
    """A webhook's other side."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, Any]], int] = lambda body: 204
        self.wrong = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                hook._take(dict(self.headers), data, self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _take(self, headers: dict[str, str], data: bytes, handler: BaseHTTPRequestHandler) -> None:
        stamp = headers["Voicetone-Timestamp"]
        mac = hmac.new(SECRET.encode(), stamp.encode() + b"." + data, hashlib.sha256).hexdigest()
        if headers["Voicetone-Signature"] != f"v1={mac}" or abs(time.time() - int(stamp)) > 60:
            self.wrong += 1
        body = json.loads(data)
        status = self.answer(body)
        if status == 204:
            self.got.append(body)
            self.headers.append(headers)
        handler.send_response(status)
        if status in (301, 302, 307):
            handler.send_header("Location", f"http://127.0.0.1:{self.port}/elsewhere")
        handler.end_headers()

    def settings(self, **changes: Any) -> WebhookSettings:
        usual: dict[str, Any] = {
            "name": "hook",
            "url": f"http://127.0.0.1:{self.port}/events?x=1",
            "secret_env": "HOOK_SECRET",
            "allow_http": True,
            "allow_private": True,
        }
        return WebhookSettings(**{**usual, **changes})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


def deliveries(count: int, call: str = "c", queue: str | None = None) -> list[Delivery]:
    bodies = [json.dumps(event(call, seq).to_dict()) for seq in range(1, count + 1)]
    return [
        Delivery(seq, call, str(seq), queue, DAY + seq, body) for seq, body in enumerate(bodies, 1)
    ]


# -- the outbox ----------------------------------------------------------------------------------


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


# -- webhooks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_inside_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_addresses_outside_are_not(address: str) -> None:
    assert is_public(address)


def test_a_name_is_looked_up_once_and_no_address_of_it_may_be_inside(
    monkeypatch: pytest.MonkeyPatch, hook: Hook
) -> None:
    names: list[str] = []
    answers = [["8.8.8.8", "10.0.0.1"], ["127.0.0.1"]]

    def looked_up(host: str, port: int, **_: object) -> list[Any]:
        names.append(host)
        return [(0, 0, 0, "", (address, port)) for address in answers[len(names) - 1]]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    with pytest.raises(OSError, match="private"):
        resolve("rebinding.example", 443, False)
    url = f"http://rebinding.example:{hook.port}/"
    target = Webhook(hook.settings(url=url, allow_private=False), SECRET.encode())
    (said,) = target.send(deliveries(1))
    assert said is not None
    assert "private" in said.why
    assert names == ["rebinding.example"] * 2
    assert hook.got == []


def test_redirects_are_not_followed(hook: Hook) -> None:
    hook.answer = lambda body: 307
    (said,) = Webhook(hook.settings(), SECRET.encode()).send(deliveries(1))
    assert said is not None
    assert "redirects" in said.why
    assert hook.got == []


def test_after_a_failure_its_call_waits_and_others_go_on(hook: Hook) -> None:
    hook.answer = lambda body: 500 if body["call"] == "a" and body["seq"] == 2 else 204
    some = [*deliveries(3, "a"), *deliveries(2, "b")]
    said = Webhook(hook.settings(), SECRET.encode()).send(some)
    assert [failed is None for failed in said] == [True, False, False, True, True]
    assert said[1] is not None
    assert said[1].tried
    assert said[2] is not None
    assert not said[2].tried


def test_a_server_that_drips_is_cut_off() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    going = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            while not going.wait(0.05):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    threading.Thread(target=drip, daemon=True).start()
    settings = WebhookSettings(
        name="drip",
        url=f"http://127.0.0.1:{listener.getsockname()[1]}/",
        secret_env="HOOK_SECRET",
        allow_http=True,
        allow_private=True,
        timeout=0.4,
    )
    began = time.monotonic()
    (said,) = Webhook(settings, SECRET.encode()).send(deliveries(1))
    going.set()
    listener.close()
    assert said is not None
    assert time.monotonic() - began < 3


def test_tls_is_checked_against_the_name(hook: Hook) -> None:
    url = f"https://localhost:{hook.port}/"
    (said,) = Webhook(hook.settings(url=url), SECRET.encode()).send(deliveries(1))
    assert said is not None
    assert "SSL" in said.why


def test_a_signature_depends_on_all_of_it() -> None:
    usual = signature(b"k", "1", b"body")
    assert usual.startswith("v1=")
    assert len({usual, *(signature(*x) for x in ((b"l", "1", b"body"), (b"k", "2", b"body")))}) == 3
    assert signature(b"k", "1", b"bodi") != usual


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://a.example/"},
        {"url": "ftp://a.example/"},
        {"url": "https://"},
        {"url": "https://user:pass@a.example/"},
        {"url": "https://a.example/\r\nX: y"},
        {"url": "https://a.example/#x"},
        {"url": "https://a.example:99999/"},
        {"name": "a/b"},
        {"tries": 0},
        {"events": ["nothing"]},
        {"typo": 1},
        {"kind": "smoke"},
    ],
)
def test_webhooks_that_cannot_be(changes: dict[str, Any]) -> None:
    usual = {"kind": "webhook", "name": "a", "url": "https://a.example/"}
    adapter: TypeAdapter[Any] = TypeAdapter(TargetSettings)
    adapter.validate_python(usual)
    with pytest.raises(ValidationError):
        adapter.validate_python({**usual, **changes})


def test_a_secret_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://a.example/"
    with pytest.raises(UsageError, match="no secret"):
        make_target(WebhookSettings(name="a", url=url))
    monkeypatch.setenv("SHORT", "short")
    with pytest.raises(UsageError, match="under 16"):
        make_target(WebhookSettings(name="a", url=url, secret_env="SHORT"))
    with pytest.raises(UsageError, match="can't be read"):
        make_target(WebhookSettings(name="a", url=url, secret_file=tmp_path / "none"))
    (tmp_path / "secret").write_text(SECRET + "\n")
    make_target(WebhookSettings(name="a", url=url, secret_file=tmp_path / "secret"))


# -- files ---------------------------------------------------------------------------------------


def test_lines_in_files_by_day_and_size(tmp_path: Path) -> None:
    target = JsonLines(JsonlSettings(name="l", folder=tmp_path, megabytes=0.001, fsync=True))
    some = deliveries(14)
    for delivery in some:
        assert target.send([delivery]) == [None]
    other = Delivery(9, "c", "9", None, DAY + 86400, some[0].body)
    assert target.send([some[0], other]) == [None, None]
    paths = sorted(path.name for path in tmp_path.iterdir())
    assert "events-2023-11-15.jsonl" in paths
    assert {"events-2023-11-14.jsonl", "events-2023-11-14-2.jsonl"} < set(paths)
    lines = [line for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert len(lines) == 16
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    target = JsonLines(JsonlSettings(name="l", folder=tmp_path))
    path = tmp_path / "events-2023-11-14.jsonl"
    for torn in (b'{"type": "to', b'{"a": 1}\n' + b"x" * 70_000):
        path.write_bytes(torn)
        assert target.send(deliveries(1)) == [None]
        assert json.loads(path.read_bytes().splitlines()[-1])["seq"] == 1
        assert len(path.read_bytes().splitlines()) == 1 + torn.count(b"\n")


def test_a_lake_by_day_and_queue(tmp_path: Path) -> None:
    from pyarrow import dataset

    target = ParquetLake(ParquetSettings(name="p", folder=tmp_path / "lake"))
    scores = {"positive": 0.2, "neutral": 0.3, "negative": 0.5}
    tone = event(
        "c",
        1,
        current={"label": "negative", "sentiment": scores},
        overall={"label": None, "sentiment": scores, "speech_seconds": 4.5},
    )
    some = [
        Delivery(1, "c", "1", "billing", DAY, json.dumps(tone.to_dict())),
        Delivery(2, "c", "2", "../../etc", DAY, json.dumps(event("c", 2, "error").to_dict())),
        Delivery(3, "d", "1", None, DAY + 86400, json.dumps({"detail-type": "X", "id": "e"})),
    ]
    assert target.send(some) == [None] * 3
    assert not (tmp_path / "etc").exists()
    table = dataset.dataset(tmp_path / "lake", partitioning="hive").to_table()
    got = {row["body"]: row for row in table.to_pylist()}
    assert len(got) == 3
    row = got[some[0].body]
    assert (row["queue"], row["call"], row["seq"], row["negative"]) == ("billing", "c", 1, 0.5)
    assert (row["label"], row["overall_negative"], row["speech_seconds"]) == ("negative", 0.5, 4.5)
    assert row["time"].timestamp() == DAY
    assert got[some[1].body]["queue"] == "../../etc"
    assert (got[some[2].body]["queue"], got[some[2].body]["seq"]) == (None, None)


def test_a_lake_s_file_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import parquet

    def full(table: Any, path: Path, **_: object) -> None:
        path.write_bytes(b"PAR1 half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", full)
    target = ParquetLake(ParquetSettings(name="p", folder=tmp_path))
    (said,) = target.send(deliveries(1))
    assert said is not None
    assert "No space" in said.why
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_lake_waits_for_rows(tmp_path: Path) -> None:
    settings = ParquetSettings(name="p", folder=tmp_path / "lake", rows=40, seconds=3600)
    store = made(tmp_path, settings)
    store.start()

    def tell(first: int, end: int) -> None:
        for seq in range(first, end):
            now = CallEvent("a", seq, time.time(), "tone", 1, {"end": 1.0})
            store.told(now)

    tell(1, 31)
    until(lambda: store.health()["stored"] == 30)
    time.sleep(0.3)
    assert not (tmp_path / "lake").exists()
    tell(31, 41)
    until(lambda: store.health()["sent"]["p"] == 40)
    store.stop()
    assert len(list((tmp_path / "lake").rglob("*.parquet"))) <= 2  # one, unless at midnight


@given(st.text(max_size=300))
def test_no_queue_s_name_leads_out(name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    path = partition(DAY, name)
    assert len(path.parts) == 2
    assert ".." not in path.parts
    assert len(path.parts[1].encode()) < 200
    assert "\0" not in str(path)


# -- the cloud -----------------------------------------------------------------------------------


def test_queues_topics_and_streams(tmp_path: Path) -> None:
    import boto3
    from moto import mock_aws

    with mock_aws():
        sqs, sns, kinesis = (boto3.client(name) for name in ("sqs", "sns", "kinesis"))
        fifo = {"FifoQueue": "true"}
        queue = sqs.create_queue(QueueName="q.fifo", Attributes=fifo)["QueueUrl"]
        behind = sqs.create_queue(QueueName="behind")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=behind, AttributeNames=["QueueArn"])
        topic = sns.create_topic(Name="t")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])
        kinesis.create_stream(StreamName="s", ShardCount=1)
        store = made(
            tmp_path,
            SqsSettings(name="sqs", queue_url=queue),
            SnsSettings(name="sns", topic_arn=topic),
            KinesisSettings(name="kinesis", stream="s"),
        )
        store.start()
        for seq in range(1, 8):
            for call in "ab":
                store.told(event(call, seq))
        until(lambda: set(store.health()["sent"].values()) == {14})
        store.stop()

        def received(url: str) -> list[dict[str, Any]]:
            got: list[dict[str, Any]] = []
            while some := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for message in some:
                    got.append(json.loads(message["Body"]))
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return got

        in_order = [event(call, seq).to_dict() for call in "ab" for seq in range(1, 8)]
        assert sorted(received(queue), key=lambda e: e["call"]) == in_order
        bodies = [json.loads(message["Message"]) for message in received(behind)]
        assert sorted(bodies, key=lambda e: (e["call"], e["seq"])) == in_order
        shard = kinesis.get_shard_iterator(
            StreamName="s", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
        )
        records = kinesis.get_records(ShardIterator=shard["ShardIterator"])["Records"]
        told = [json.loads(record["Data"]) for record in records]
        assert sorted(told, key=lambda e: e["call"]) == in_order


class Partly:
    """A client whose batches are refused in part."""

    def send_message_batch(self, Entries: list[Any], **_: object) -> dict[str, Any]:  # noqa: N803
        failed = [{"Id": "1", "Code": "InternalError", "SenderFault": False}]
        return {"Failed": [*failed, {"Id": "2", "Code": "InvalidMessage", "SenderFault": True}]}

    def put_records(self, Records: list[Any], **_: object) -> dict[str, Any]:  # noqa: N803
        slow = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow"}
        return {"FailedRecordCount": 1, "Records": [{}, slow, {}, {}]}


def test_what_a_batch_refused_is_told_one_by_one() -> None:
    some = deliveries(4)
    sqs = make_aws(SqsSettings(name="a", queue_url="https://q", region="eu-west-1"))
    assert isinstance(sqs, Sqs)
    sqs._client = Partly()
    said = sqs.send(some)
    assert [failed and (failed.final, failed.why[:8]) for failed in said] == [
        None,
        (False, "Internal"),
        (True, "InvalidM"),
        None,
    ]
    large = Delivery(9, "c", "9", None, DAY, "x" * 200_000)
    next_one = Delivery(10, "e", "9", None, DAY, "x" * 200_000)
    too_large = Delivery(11, "d", "9", None, DAY, "x" * 300_000)
    (first, full, final) = sqs.send([large, next_one, too_large])
    assert first is None
    assert full is not None
    assert not full.tried
    assert final is not None
    assert final.final
    kinesis = make_aws(KinesisSettings(name="a", stream="s", region="eu-west-1"))
    assert isinstance(kinesis, Kinesis)
    kinesis._client = Partly()
    assert [failed is None for failed in kinesis.send(some)] == [True, False, True, True]
    assert not kinesis.whole  # so that no two events of a call are in one batch


def test_where_is_needed() -> None:
    for settings in (SqsSettings(name="a"), SnsSettings(name="a"), KinesisSettings(name="a")):
        with pytest.raises(UsageError, match="say where its events go"):
            make_target(settings)
