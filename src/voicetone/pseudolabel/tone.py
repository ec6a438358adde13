"""Sentiment and emotion from the voice, by a tone model: any bundle, through its live route."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from voicetone.errors import AudioError, UsageError
from voicetone.inference.live import LiveSession
from voicetone.pretrained.predictor import Predictor
from voicetone.pseudolabel.fields import Field
from voicetone.pseudolabel.journal import Entry
from voicetone.pseudolabel.steps import Ear, audio_hash, key_of
from voicetone.types import EMOTIONS, SENTIMENTS, Overall, Utterance

LABELS = {"sentiment": SENTIMENTS, "emotion": EMOTIONS}


class ToneModel:
    """What a bundle says of utterances, each heard once."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._ear = Ear()
        self._heard: dict[str, Overall] = {}  # hash of the audio → tone; small records

    def overall(self, utterance: Utterance) -> Overall:
        """The tone of the whole utterance.

        Raises:
            AudioError: its recording can't be read or analysed.
            BundleError: the model fails.
        """
        key = audio_hash(utterance)
        if key not in self._heard:
            sound = self._ear.hear(utterance)
            session = LiveSession(self.predictor, sound.sample_rate, 1)
            session.push(sound.samples)
            session.close()
            self._heard[key] = session.overall(session.channels[0])
        return self._heard[key]


class ToneStep:
    """One field by a tone model. Where the bundle would show no label, none is taken.

    Args:
        field: sentiment or emotion.
        model: the bundle; two steps may share it.

    Raises:
        UsageError: the bundle doesn't know that field.
    """

    def __init__(self, field: Literal["sentiment", "emotion"], model: ToneModel) -> None:
        self.field: Field = field
        self._model = model
        spec = model.predictor.spec
        if not getattr(spec.label_spaces, field, None):
            raise UsageError(
                f"--{field}-by tone: {spec.id} knows no {field}: take another --bundle"
            )
        self.source = f"bundle {spec.id}"

    def obstacle(self, utterance: Utterance) -> str:
        return ""

    def input_of(self, utterance: Utterance) -> str:
        return audio_hash(utterance)

    def entries(self, utterances: Sequence[Utterance]) -> Iterator[Entry]:
        for u in utterances:
            key: dict[str, Any] = key_of(self, u)
            try:
                tone = self._model.overall(u)
            except AudioError as error:
                problem = str(error).removeprefix(f"{u.audio}: ")
                yield Entry(**key, problem=problem, failed=True)
                continue
            yield Entry(**key, **self._answer(tone))

    def _answer(self, tone: Overall) -> dict[str, Any]:
        scores = tone.sentiment if self.field == "sentiment" else tone.emotion
        if scores is None:
            return {"problem": "no speech heard"}
        if self.field == "sentiment" and tone.label is None:
            return {"scores": dict(scores), "problem": "the model is not sure"}
        label = max(scores, key=lambda name: scores[name])
        if label not in LABELS[self.field]:
            return {"scores": dict(scores), "problem": f"a label of no manifest, {label}"}
        return {"value": label, "confidence": float(scores[label]), "scores": dict(scores)}
