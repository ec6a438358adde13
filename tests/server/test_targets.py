"""Targets in files and in the cloud."""

from __future__ import annotations

import json
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from server.targets_help import DAY, deliveries, event, hook, made, quick, until
from voicetone.errors import UsageError
from voicetone.server.events import CallEvent
from voicetone.server.store import StoreSettings
from voicetone.server.target_aws import Kinesis, Sqs, make_aws
from voicetone.server.target_files import JsonLines, ParquetLake, partition
from voicetone.server.targets import (
    Delivery,
    JsonlSettings,
    KinesisSettings,
    ParquetSettings,
    SnsSettings,
    SqsSettings,
    TargetSettings,
    make_target,
)

__all__ = ["hook", "quick"]  # fixtures


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


def test_the_page_s_settings_can_be(root: Path) -> None:
    page = (root / "docs" / "targets.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    adapter: TypeAdapter[Any] = TypeAdapter(tuple[TargetSettings, ...])
    targets = adapter.validate_python(tomllib.loads(block)["targets"])
    assert len({target.kind for target in targets}) == 6
    page = (root / "docs" / "store.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert TypeAdapter(StoreSettings).validate_python(tomllib.loads(block)["store"])


def test_where_is_needed() -> None:
    for settings in (SqsSettings(name="a"), SnsSettings(name="a"), KinesisSettings(name="a")):
        with pytest.raises(UsageError, match="say where its events go"):
            make_target(settings)
