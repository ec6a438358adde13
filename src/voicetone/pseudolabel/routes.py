"""Which provider for which field: from names to steps, and what leaves the machine on the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from voicetone.errors import UsageError
from voicetone.language import TextLabeller, Transcriber
from voicetone.language.post import is_loopback
from voicetone.pseudolabel.steps import Step, TextStep, TranscriptStep
from voicetone.types import Utterance

TRANSCRIBERS = ("pocketsphinx", "faster-whisper", "transformers", "transcribe", "none")
LABELLERS = ("vader", "transformers", "comprehend", "llm", "tone", "none")
UNPRICED = "; the cost is not known without --price-in and --price-out"
TONES = ("tone", "none")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says; `help` of its options explains each."""

    transcript_by: str = "pocketsphinx"
    sentiment_by: str = "vader"
    emotion_by: str = "none"
    language: str | None = None
    asr_model: str | None = None
    model: str | None = None
    bundle: str | None = None
    endpoint: str | None = None
    api_key_env: str | None = None
    timeout: float = 60.0
    retries: int = 4
    per_minute: float | None = None
    region: str | None = None
    bucket: str | None = None
    send_text_to: str | None = None
    send_audio_to: str | None = None


@dataclass(frozen=True, slots=True)
class Journey:
    """What one step sends away: `cargo` to `host`, in words."""

    host: str
    cargo: str


def steps_of(wishes: Wishes) -> list[Step]:
    """The steps that are asked for, in order.

    Raises:
        UsageError: nothing is asked for, of somebody unknown, or what would leave the machine was
            not allowed to go there.
        MissingExtraError: of somebody who is not installed.
        DataError, BundleError: of a model that can't be loaded.
    """
    for option, name, known in (
        ("--transcript-by", wishes.transcript_by, TRANSCRIBERS),
        ("--sentiment-by", wishes.sentiment_by, LABELLERS),
        ("--emotion-by", wishes.emotion_by, TONES),
    ):
        if name not in known:
            raise UsageError(f"{option} {name}: no such provider: use {', '.join(known)}")
    steps: list[Step] = []
    if wishes.transcript_by != "none":
        steps.append(TranscriptStep(_transcriber(wishes), wishes.language))
    if wishes.sentiment_by not in ("none", "tone"):
        steps.append(TextStep(_labeller(wishes), wishes.language))
    steps += _tones(wishes)
    if not steps:
        raise UsageError("nothing to fill: every --…-by is none")
    return steps


def journey(step: Step, utterances: Sequence[Utterance]) -> Journey | None:
    """What asking about these utterances would send away; None if all stays on this machine."""
    from voicetone.language.chat import ChatLabeller
    from voicetone.language.comprehend import ComprehendLabeller
    from voicetone.language.transcribe import AmazonTranscriber

    count = f"{len(utterances):,}"
    if isinstance(step, TranscriptStep) and isinstance(step.transcriber, AmazonTranscriber):
        seconds = [u.duration for u in utterances]
        known = sum(s for s in seconds if s is not None)
        length = f", {known / 60:,.1f} min" if None not in seconds else ""
        return Journey(step.transcriber.host, f"the audio of {count} utterances{length}")
    if not isinstance(step, TextStep):
        return None
    texts = [u.transcript or "" for u in utterances]
    if isinstance(step.labeller, ComprehendLabeller):
        units = f"{step.labeller.units(texts):,} billed units of 100 characters"
        return Journey(step.labeller.host, f"{count} transcripts, {units}")
    if isinstance(step.labeller, ChatLabeller):
        about = step.labeller.estimate(texts)
        tokens = f"about {about.tokens_in:,} tokens in and {about.tokens_out:,} out"
        return Journey(step.labeller.host, f"{count} transcripts, {tokens}")
    return None


def cost(step: Step, utterances: Sequence[Utterance], prices: tuple[float, float] | None) -> str:
    """What asking will cost, to be put behind a journey; the empty text where nothing is billed.

    Args:
        step: whom to ask.
        utterances: about which.
        prices: of a million tokens sent and received; None is not known.
    """
    from voicetone.language.chat import ChatLabeller

    if not isinstance(step, TextStep) or not isinstance(step.labeller, ChatLabeller):
        return ""
    if prices is None:
        return "" if is_loopback(step.labeller.host) else UNPRICED
    about = step.labeller.estimate([u.transcript or "" for u in utterances])
    return f"; about {about.cost(*prices):.2f} at the prices given, without second tries"


def used(step: Step) -> str:
    """What an endpoint says that this run has used; the empty text if it says nothing."""
    from voicetone.language.chat import ChatLabeller

    if not isinstance(step, TextStep) or not isinstance(step.labeller, ChatLabeller):
        return ""
    sent, received = step.labeller.used.values()
    if not sent + received:
        return ""
    return f"{step.labeller.host} counted {sent:,} tokens in and {received:,} out"


def leaves(step: Step) -> bool:
    """Does asking send anything to another machine?"""
    found = journey(step, ())
    return found is not None and not is_loopback(found.host)


def _transcriber(wishes: Wishes) -> Transcriber:
    if wishes.transcript_by == "pocketsphinx":
        from voicetone.language.sphinx import SphinxTranscriber

        return SphinxTranscriber()
    if wishes.transcript_by == "transcribe":
        from voicetone.language.transcribe import AmazonTranscriber

        if not wishes.bucket:
            raise UsageError("--transcript-by transcribe: needs --bucket, for the time of a job")
        amazon = AmazonTranscriber(wishes.bucket, wishes.region)
        _allowed("--send-audio-to", wishes.send_audio_to, amazon.host, "recordings")
        return amazon
    if not wishes.asr_model:
        raise UsageError(f"--transcript-by {wishes.transcript_by}: needs --asr-model")
    if wishes.transcript_by == "faster-whisper":
        from voicetone.language.whisper import WhisperTranscriber

        return WhisperTranscriber(wishes.asr_model)
    from voicetone.language.hub import HubTranscriber

    return HubTranscriber(wishes.asr_model)


def _labeller(wishes: Wishes) -> TextLabeller:
    if wishes.sentiment_by == "vader":
        from voicetone.language.vader import VaderLabeller

        return VaderLabeller()
    if wishes.sentiment_by == "comprehend":
        from voicetone.language.comprehend import ComprehendLabeller

        comprehend = ComprehendLabeller(wishes.region)
        _allowed("--send-text-to", wishes.send_text_to, comprehend.host, "transcripts")
        return comprehend
    if wishes.sentiment_by == "llm":
        return _chat(wishes)
    from voicetone.language.hub import HubLabeller

    if not wishes.model:
        raise UsageError("--sentiment-by transformers: needs --model")
    return HubLabeller(wishes.model)


def _chat(wishes: Wishes) -> TextLabeller:
    from voicetone.language.chat import ChatLabeller, ChatSettings

    if not wishes.endpoint:
        raise UsageError("--sentiment-by llm: needs --endpoint, the URL of the API")
    key = os.environ.get(wishes.api_key_env, "") if wishes.api_key_env else ""
    if wishes.api_key_env and not key:
        raise UsageError(f"--api-key-env {wishes.api_key_env}: no such environment variable is set")
    settings = ChatSettings(
        endpoint=wishes.endpoint,
        model=wishes.model or "",
        key=key.strip(),
        timeout=wishes.timeout,
        retries=wishes.retries,
        per_minute=wishes.per_minute,
    )
    chat = ChatLabeller(settings)
    _allowed("--send-text-to", wishes.send_text_to, chat.host, "transcripts")
    return chat


def _tones(wishes: Wishes) -> list[Step]:
    if "tone" not in (wishes.sentiment_by, wishes.emotion_by):
        return []
    from voicetone.pretrained import load
    from voicetone.pseudolabel.tone import ToneModel, ToneStep

    model = ToneModel(load(wishes.bundle))
    steps: list[Step] = []
    if wishes.sentiment_by == "tone":
        steps.append(ToneStep("sentiment", model))
    if wishes.emotion_by == "tone":
        steps.append(ToneStep("emotion", model))
    return steps


def _allowed(option: str, given: str | None, host: str, cargo: str) -> None:
    """Nothing leaves this machine for a place that was not named.

    Raises:
        UsageError: the place was not named, or another one was.
    """
    if is_loopback(host) or (given or "").lower() == host.lower():
        return
    said = f"not to {given}" if given else "to another machine"
    raise UsageError(f"{cargo} would go to {host}, {said}: if that is allowed, say {option} {host}")
