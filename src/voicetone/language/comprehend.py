"""Sentiment of text by Amazon Comprehend, 25 texts a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voicetone.errors import DataError
from voicetone.language.answers import NO_WORDS, Opinion, has_words
from voicetone.language.aws import client_of, host_of, problem_of
from voicetone.types import SENTIMENTS

MOST_BYTES = 5_000  # of a text, by the service's rules
PATIENCE = 3  # requests in a row without an answer after which no more are sent
UNIT, FEWEST_UNITS = 100, 3  # characters of a unit, and units of a text, as they are billed


class ComprehendLabeller:
    """Batches of texts to Comprehend.

    The service knows a fourth answer, mixed. It is neither neutral nor any other of the three, so
    such a text gets no sentiment; of the others, scores are shares of what is not mixed.

    Args:
        region: as `eu-west-1`; None is what boto3 is set to.
        client: of boto3, for tests.

    Raises:
        MissingExtraError: boto3 is not installed.
        UsageError: no region.
    """

    languages = ("en", "es", "fr", "de", "it", "pt", "ar", "hi", "ja", "ko", "zh")
    batch = 25

    def __init__(self, region: str | None = None, *, client: Any = None) -> None:
        self._client = client or client_of("comprehend", region)
        self.host = host_of(self._client)
        self.source = f"amazon comprehend at {self.host}"
        self._in_vain = 0

    def units(self, texts: Sequence[str]) -> int:
        """Billed units of these texts."""
        return sum(max(-(-len(text) // UNIT), FEWEST_UNITS) for text in texts)

    def label(self, texts: Sequence[str], language: str | None) -> list[Opinion]:
        """One opinion per text.

        Raises:
            DataError: the service refuses us, or has not answered three times in a row.
        """
        found = [_unfit(text) for text in texts]
        fit = [i for i, opinion in enumerate(found) if not opinion.problem]
        if fit:
            answers = self._ask([texts[i] for i in fit], language or "en")
            for i, opinion in zip(fit, answers, strict=True):
                found[i] = opinion
        return found

    def _ask(self, texts: list[str], language: str) -> list[Opinion]:
        from botocore.exceptions import BotoCoreError, ClientError

        if self._in_vain >= PATIENCE:
            raise DataError(
                f"{self.host}: no answer {PATIENCE} times in a row: run the same command later"
            )
        try:
            answer = self._client.batch_detect_sentiment(TextList=texts, LanguageCode=language)
        except (BotoCoreError, ClientError) as error:
            self._in_vain += 1
            return [Opinion(problem=problem_of(error), failed=True)] * len(texts)
        self._in_vain = 0
        found = [Opinion(problem="no answer for this text", failed=True)] * len(texts)
        for item in answer.get("ResultList", ()):
            if 0 <= item.get("Index", -1) < len(texts):
                found[item["Index"]] = opinion_of(item)
        for item in answer.get("ErrorList", ()):
            if 0 <= item.get("Index", -1) < len(texts):
                problem = f"refused with {item.get('ErrorCode', 'unknown')}"
                found[item["Index"]] = Opinion(problem=problem, failed=True)
        return found


def opinion_of(item: Mapping[str, Any]) -> Opinion:
    """The opinion in one item of an answer."""
    told: Mapping[str, float] = item.get("SentimentScore", {})
    values = {name: float(told.get(name.capitalize(), 0.0)) for name in SENTIMENTS}
    total = sum(values.values())
    if item.get("Sentiment") == "MIXED":
        return Opinion(problem="mixed sentiment")
    if total <= 0:
        return Opinion(problem="no answer for this text", failed=True)
    return Opinion({name: value / total for name, value in values.items()})


def _unfit(text: str) -> Opinion:
    """Why a text is not sent; without a problem if it is."""
    if not has_words(text):
        return Opinion(problem=NO_WORDS)
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        return Opinion(problem=f"a transcript of more than {MOST_BYTES:,} bytes")
    return Opinion()
