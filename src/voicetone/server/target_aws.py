"""SQS, SNS and Kinesis through boto3; what a batch refused in part is tried again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from voicetone.errors import MissingExtraError, UsageError
from voicetone.server.targets import (
    Delivery,
    Failed,
    KinesisSettings,
    SnsSettings,
    SqsSettings,
)

MESSAGE_BYTES = 256 * 1000
"""Of one request to SQS or SNS, and of one event: their limit is 256 KiB."""
AwsSettings = SqsSettings | SnsSettings | KinesisSettings


def _client(settings: AwsSettings) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise MissingExtraError(f"a target of kind {settings.kind}", "aws") from error
    config = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2})
    try:
        # Not `boto3.client`: all threads would share its session, which may not be shared.
        return boto3.session.Session().client(
            settings.kind,
            region_name=settings.region,
            endpoint_url=settings.endpoint_url,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"target {settings.name}: boto3 refuses its settings ({error})") from error


class _Batches:
    """What the three have in common: at most one event of a call in a batch, to keep the order.

    A batch may be refused in part; were there two events of a call in it, the later might go first.

    Args:
        client: of boto3.
        most: events in one request.
    """

    whole = False
    linger = 0.0
    longest = 60.0

    def __init__(self, client: Any, most: int) -> None:
        self._client = client
        self.batch = most

    def send(self, deliveries: Sequence[Delivery]) -> list[Failed | None]:
        """One request, of as many as its size allows; the rest is left for the next."""
        outcomes: list[Failed | None] = []
        chosen: list[Delivery] = []
        room = MESSAGE_BYTES
        for delivery in deliveries:
            size = len(delivery.body.encode())
            if size > MESSAGE_BYTES:
                outcomes.append(Failed(f"{size} bytes are too many", final=True))
            elif size > room:
                outcomes.append(Failed("the request was full", tried=False))
            else:
                room -= size
                chosen.append(delivery)
                outcomes.append(None)
        failed = self._request(chosen) if chosen else {}
        at = {delivery.id: position for position, delivery in enumerate(chosen)}
        return [
            said if delivery.id not in at else failed.get(at[delivery.id])
            for said, delivery in zip(outcomes, deliveries, strict=True)
        ]

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _request(self, deliveries: Sequence[Delivery]) -> dict[int, Failed]:
        """Send them: position → why it failed. Raises for all."""
        raise NotImplementedError


def _refused(answer: Any) -> dict[int, Failed]:
    """What an answer of SQS or SNS says to each entry; a sender's fault is final."""
    return {
        int(entry["Id"]): Failed(
            f"{entry.get('Code')}: {entry.get('Message')}"[:300], bool(entry.get("SenderFault"))
        )
        for entry in answer.get("Failed", ())
    }


def _fifo(address: str, delivery: Delivery) -> dict[str, str]:
    """What a FIFO queue or topic wants besides."""
    if not address.endswith(".fifo"):
        return {}
    name = f"{delivery.call}.{delivery.key}"
    return {
        "MessageGroupId": hashlib.sha256(delivery.call.encode()).hexdigest(),
        "MessageDeduplicationId": hashlib.sha256(name.encode()).hexdigest(),
    }


class Sqs(_Batches):
    """Messages to a queue."""

    def __init__(self, settings: SqsSettings) -> None:
        super().__init__(_client(settings), 10)
        self._url = settings.queue_url

    def _request(self, deliveries: Sequence[Delivery]) -> dict[int, Failed]:
        entries = [
            {"Id": str(at), "MessageBody": delivery.body, **_fifo(self._url, delivery)}
            for at, delivery in enumerate(deliveries)
        ]
        return _refused(self._client.send_message_batch(QueueUrl=self._url, Entries=entries))


class Sns(_Batches):
    """Messages to a topic."""

    def __init__(self, settings: SnsSettings) -> None:
        super().__init__(_client(settings), 10)
        self._arn = settings.topic_arn

    def _request(self, deliveries: Sequence[Delivery]) -> dict[int, Failed]:
        entries = [
            {"Id": str(at), "Message": delivery.body, **_fifo(self._arn, delivery)}
            for at, delivery in enumerate(deliveries)
        ]
        sent = self._client.publish_batch(TopicArn=self._arn, PublishBatchRequestEntries=entries)
        return _refused(sent)


class Kinesis(_Batches):
    """Records to a stream; the call's id says to which shard."""

    def __init__(self, settings: KinesisSettings) -> None:
        super().__init__(_client(settings), 100)
        self._stream = settings.stream

    def _request(self, deliveries: Sequence[Delivery]) -> dict[int, Failed]:
        records = [
            {"Data": delivery.body.encode() + b"\n", "PartitionKey": delivery.call}
            for delivery in deliveries
        ]
        answer = self._client.put_records(StreamName=self._stream, Records=records)
        return {
            at: Failed(f"{record['ErrorCode']}: {record.get('ErrorMessage')}"[:300])
            for at, record in enumerate(answer["Records"])
            if record.get("ErrorCode")
        }


def make_aws(settings: AwsSettings) -> _Batches:
    """The target of these settings.

    Raises:
        UsageError: nowhere to send to, or settings that boto3 refuses.
        MissingExtraError: no boto3.
    """
    match settings:
        case SqsSettings():
            _require(settings, "queue_url", settings.queue_url)
            return Sqs(settings)
        case SnsSettings():
            _require(settings, "topic_arn", settings.topic_arn)
            return Sns(settings)
        case KinesisSettings():
            _require(settings, "stream", settings.stream)
            return Kinesis(settings)


def _require(settings: AwsSettings, key: str, address: str) -> None:
    if not address:
        raise UsageError(f"target {settings.name}: no {key}: say where its events go")
