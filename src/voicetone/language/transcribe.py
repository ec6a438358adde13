"""Words by Amazon Transcribe: through a bucket of the user's, and nothing is left there."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress

from voicetone.errors import DataError
from voicetone.language.answers import Spoken
from voicetone.language.aws import client_of, host_of, problem_of
from voicetone.types import Waveform

SHORTEST = 0.5  # s, by the service's rules
PATIENCE = 3  # utterances in a row that failed, after which no more are sent
POLL = 5.0  # s
LONGEST_JOB = 1800.0  # s
# The service wants a country; the one whose speech its model of that language knows most of.
COUNTRIES: Mapping[str, str] = {
    "de": "de-DE",
    "en": "en-US",
    "es": "es-ES",
    "fr": "fr-FR",
    "it": "it-IT",
    "ja": "ja-JP",
    "nl": "nl-NL",
    "pl": "pl-PL",
    "pt": "pt-BR",
}


class AmazonTranscriber:
    """One job per utterance; the service finds out the language where none is named.

    Args:
        bucket: where audio and words lie while a job runs.
        region: as `eu-west-1`; None is what boto3 is set to.
        sleep: of the time module, for tests.

    Raises:
        MissingExtraError: boto3 is not installed.
        UsageError: no region.
    """

    languages = None

    def __init__(
        self,
        bucket: str,
        region: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bucket = bucket
        self._jobs = client_of("transcribe", region)
        self._store = client_of("s3", region)
        self._sleep = sleep
        self._in_vain = 0
        self.host = host_of(self._jobs)
        self.source = f"amazon transcribe at {self.host}"

    def transcribe(self, sound: Waveform, language: str | None) -> Spoken:
        """The words, and the mean of their confidences.

        Raises:
            DataError: the service refuses us, or what was uploaded can't be deleted.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if sound.duration < SHORTEST:
            return Spoken(problem=f"shorter than {SHORTEST:g} s")
        if self._in_vain >= PATIENCE:
            raise DataError(
                f"{self.host}: no words {PATIENCE} times in a row: run the same command later"
            )
        name = f"voicetone-{uuid.uuid4().hex}"
        try:
            self._store.put_object(Bucket=self._bucket, Key=f"{name}.wav", Body=wav_of(sound))
            try:
                self._start(name, language)
                said = self._wait(name)
            finally:
                self._clean(name)
        except (BotoCoreError, ClientError) as error:
            said = Spoken(problem=problem_of(error), failed=True)
        self._in_vain = self._in_vain + 1 if said.failed else 0
        return said

    def _start(self, name: str, language: str | None) -> None:
        code = COUNTRIES.get(language or "")
        self._jobs.start_transcription_job(
            TranscriptionJobName=name,
            MediaFormat="wav",
            Media={"MediaFileUri": f"s3://{self._bucket}/{name}.wav"},
            OutputBucketName=self._bucket,
            OutputKey=f"{name}.json",
            **({"LanguageCode": code} if code else {"IdentifyLanguage": True}),
        )

    def _wait(self, name: str) -> Spoken:
        for _ in range(int(LONGEST_JOB / POLL)):
            job = self._jobs.get_transcription_job(TranscriptionJobName=name)["TranscriptionJob"]
            status = job["TranscriptionJobStatus"]
            if status == "COMPLETED":
                found = self._store.get_object(Bucket=self._bucket, Key=f"{name}.json")
                return spoken_of(found["Body"].read())
            if status == "FAILED":
                return Spoken(problem="the job failed", failed=True)
            self._sleep(POLL)
        return Spoken(problem=f"no words within {LONGEST_JOB:g} s", failed=True)

    def _clean(self, name: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        for key in (f"{name}.wav", f"{name}.json"):
            try:
                self._store.delete_object(Bucket=self._bucket, Key=key)
            except (BotoCoreError, ClientError):
                raise DataError(
                    f"s3://{self._bucket}/{key}: can't be deleted: delete it and check the rights"
                ) from None
        # One that never began can't be deleted; the service forgets any after 90 days.
        with suppress(BotoCoreError, ClientError):
            self._jobs.delete_transcription_job(TranscriptionJobName=name)


def wav_of(sound: Waveform) -> bytes:
    """Mono, 16 bits, at its own rate."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, sound.mono().samples[0], sound.sample_rate, "PCM_16", format="WAV")
    return out.getvalue()


def spoken_of(content: bytes) -> Spoken:
    """The words in a job's result."""
    try:
        results = json.loads(content)["results"]
        text = str(results["transcripts"][0]["transcript"]).strip()
        sure = [
            float(item["alternatives"][0]["confidence"])
            for item in results.get("items", ())
            if item.get("type") == "pronunciation"
        ]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return Spoken(problem="an answer in another form than expected", failed=True)
    if not text:
        return Spoken(problem="no words heard")
    return Spoken(text, sum(sure) / len(sure) if sure else None)
