"""Bundles of format 2: a window's audio, the features of all of it, one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from voicetone.audio.energy import energy_presence, speech_span
from voicetone.audio.units import FEATURE_HOP, FRAME, SHORT_SECONDS, to_samples
from voicetone.errors import AudioError, BundleError
from voicetone.features.lengths import fitted, stepped
from voicetone.features.sets import extractor
from voicetone.features.speaker import SpeakerEncoder
from voicetone.features.speaker_frames import FrameStatistics
from voicetone.pretrained.predictor import SPACES, check_finite, check_ports, opened, softmax
from voicetone.pretrained.runtime import run_graph
from voicetone.pretrained.speakers import bundled_encoder
from voicetone.pretrained.spec import WindowSpec
from voicetone.pretrained.text_reader import TextReader
from voicetone.types import EMOTION_TO_SENTIMENT, SENTIMENTS, Floats

_LEAST = to_samples(SHORT_SECONDS)


class WindowPredictor:
    """A bundle of format 2 in ONNX Runtime. Safe to share between threads.

    It meets the same protocol as the others, with the audio itself for frames: what a session
    keeps for a window is its 5 s of samples, and `classify` takes their features.

    Args:
        spec: the bundle's specification.
        graph: bytes of the classifier's graph.
        threads: for each graph.
        speaker: bytes of the graph that makes a voice of speech, where there is one.
        text: bytes of the graph that makes vectors of words, where there is one.
        vocabulary: bytes of its list of words.

    Raises:
        BundleError: a graph that doesn't load, or whose inputs and outputs are not those of a
            bundle with this specification.
    """

    def __init__(
        self,
        spec: WindowSpec,
        graph: bytes,
        threads: int = 1,
        speaker: bytes | None = None,
        text: bytes | None = None,
        vocabulary: bytes | None = None,
    ) -> None:
        self._spec = spec
        self._graph = opened(graph, spec.graphs.classifier, threads)
        self._extracting = Lock()  # it silences warnings for a moment, for all threads
        wanted = spec.features
        inputs: dict[str, tuple[int | None, ...]] = {"features": (1, wanted.size)}
        if wanted.frames:
            inputs = {"features": (1, wanted.frames, wanted.size), "mask": (1, wanted.frames)}
        if spec.speaker is not None:
            inputs |= {"voice": (1, spec.speaker.size), "known": (1,)}
        if spec.text is not None:
            size = spec.text.size
            inputs |= {"tokens": (1, None, size), "token_mask": (1, None), "read": (1,)}
        self.reader: TextReader | None = None
        """What makes vectors of words; None for a network that reads none."""
        if spec.text is not None:
            name = spec.graphs.text or ""
            self.reader = TextReader(spec.text, name, text or b"", vocabulary or b"", threads)
        self.encoder = self._opened_encoder(speaker, threads)
        """What makes a voice of speech; None for a network that is told of no speaker."""
        count = len(spec.space(spec.head).labels)
        check_ports(self._graph, spec.graphs.classifier, inputs, {spec.head: (1, count)})
        nothing = np.zeros((10, wanted.size) if wanted.frames else wanted.size, np.float32)
        trials = [None] if spec.text is None else [None, np.zeros((3, spec.text.size), np.float32)]
        for words in trials:
            found = self._logits(nothing, None, words)
            if found.shape != (count,):
                raise BundleError(
                    f"the graph's {spec.head} has the shape {list(found.shape)} where the bundle "
                    f"says {[count]}"
                )

    @property
    def spec(self) -> WindowSpec:
        """What the model is."""
        return self._spec

    def features(self, samples: Floats) -> Floats:
        """Audio at 16 kHz `[B, 250 k]` → the same `[B, k, 250]`."""
        return samples.reshape(len(samples), -1, FEATURE_HOP)

    def encode(self, features: Floats, state: Floats) -> tuple[Floats, Floats, Floats]:
        """Audio `[B, 2 n, 250]`, floor `[B, 1]` → audio `[B, n, 500]`, speech `[B, n]`, floor.

        Speech presence is estimated from the energy, see `voicetone.audio.energy`.
        """
        frames = features.reshape(len(features), -1, FRAME)
        speech, floor = energy_presence(frames, state)
        return frames, speech, floor

    def classify(
        self,
        frames: Floats,
        weight: Floats,
        voices: Sequence[Floats | None] = (),
        texts: Sequence[str | None] = (),
    ) -> Mapping[str, Floats]:
        """Audio `[B, n, 500]`, weight `[B, n]` → probabilities `[B, labels]` per label space.

        `voices` says who speaks in each row, for a network that takes it: `[size]` as its encoder
        gives it, None for an unknown speaker; nobody is known if left out. `texts` are the words
        of each row, for a network that reads; None where there are none, as if left out.

        Heard is the window from where its speech begins to where that ends, as the energy has it:
        these networks learnt from utterances without silence around them. Where
        that is under 1 s, or openSMILE finds it too short, the answer is NaN. Zeros at the end of
        the last frame fill up the last frame of a stream, and are not heard.

        Raises:
            MissingExtraError: openSMILE is not installed.
            BundleError: the features or the graph are not those of the bundle.
        """
        out: dict[str, Floats] = {
            name: np.full((len(frames), len(self._spec.space(name).labels)), np.nan, np.float32)
            for name in SPACES
        }
        for row, (window, count) in enumerate(zip(frames, weight.sum(axis=1), strict=True)):
            values = self._heard(window[: round(float(count))])
            if values is not None:
                voice = voices[row] if voices else None
                text = texts[row] if texts else None
                for name, found in self.probabilities(values, voice, text).items():
                    out[name][row] = found
        return out

    def probabilities(
        self, values: Floats, voice: Floats | None = None, text: str | None = None
    ) -> dict[str, Floats]:
        """Features of one utterance, as extracted, → probabilities `[labels]` per label space.

        Args:
            values: `[features]`, or `[t, features]` for a network that takes frames.
            voice: `[size]` of who speaks, for a network that takes it; None where unknown.
            text: what is said, for a network that reads; None where that is not known.

        Raises:
            BundleError: the graph fails or gives something other than numbers.
        """
        spaces, head = self._spec.label_spaces, self._spec.head
        temperature = getattr(self._spec.temperature, head)
        words = None if self.reader is None else self.reader.vectors(text)
        found = softmax(self._logits(values, voice, words) / np.float32(temperature))
        if head == "sentiment":
            return {"sentiment": found, "emotion": np.zeros(0, dtype=np.float32)}
        order = [SENTIMENTS.index(name) for name in spaces.sentiment]
        return {"sentiment": sentiment_of(found, spaces.emotion)[order], "emotion": found}

    def _heard(self, frames: Floats) -> Floats | None:
        """The features of a window's audio `[n, 500]`; None where there are none."""
        if not frames.any():
            return None
        first, last = speech_span(frames, self._spec.speech.threshold)
        heard = frames[first:last]
        samples = heard.reshape(-1)
        if last == len(frames) > first:
            samples = samples[: len(samples) - FRAME + len(np.trim_zeros(heard[-1], "b"))]
        if len(samples) < _LEAST:
            return None
        try:
            values = self._extract(samples)
        except AudioError:
            return None
        if values.shape[-1] != self._spec.features.size:
            raise BundleError(
                f"{self._spec.id}: {self._spec.features.name} gives {values.shape[-1]} features "
                f"here and gave {self._spec.features.size} in training: export it anew"
            )
        return values

    def _extract(self, samples: Floats) -> Floats:
        with self._extracting:
            return extractor(self._spec.features.config)(samples)

    def _opened_encoder(
        self, graph: bytes | None, threads: int
    ) -> SpeakerEncoder | FrameStatistics | None:
        """What makes a voice of speech, if it is that of the specification."""
        part, wanted = self._spec.speaker, self._spec.features
        if part is None:
            return None
        encoder: SpeakerEncoder | FrameStatistics
        if part.kind == "frames":
            encoder = FrameStatistics(wanted.decisive, self._extract, wanted.size, wanted.step)
        else:
            encoder = bundled_encoder(part, self._spec.graphs.speaker or "", graph, threads)
        if (encoder.id, encoder.size) != (part.encoder, part.size):
            raise BundleError(
                f"{self._spec.id}: its voices are those of {part.encoder} with {part.size} values, "
                f"and here {encoder.id} gives {encoder.size}: export it anew"
            )
        return encoder

    def _logits(self, values: Floats, voice: Floats | None, words: Floats | None = None) -> Floats:
        """Logits `[labels]` of features, a voice `[size]` and vectors of words `[l, size]`."""
        wanted, speaker, text = self._spec.features, self._spec.speaker, self._spec.text
        inputs: dict[str, Any] = {"features": values[None]}
        if wanted.frames:
            values, mask = fitted(stepped(values, wanted.step), wanted.frames)
            inputs = {"features": values[None], "mask": mask[None]}
        if speaker is not None:
            told = np.zeros(speaker.size, np.float32) if voice is None else voice
            inputs |= {"voice": told[None], "known": np.array([voice is not None], np.float32)}
        if text is not None:
            read = np.array([words is not None], np.float32)
            tokens = np.zeros((1, text.size), np.float32) if words is None else words
            mask = np.ones((1, len(tokens)), np.float32)
            inputs |= {"tokens": tokens[None], "token_mask": mask, "read": read}
        (logits,) = run_graph(self._graph, inputs, [self._spec.head])
        check_finite(logits, self._spec.graphs.classifier)
        return np.asarray(logits[0])


def sentiment_of(probabilities: Floats, emotions: Sequence[str]) -> Floats:
    """Sentiment `[..., 3]` in the order of `SENTIMENTS`: the sum over the emotions of each.

    Emotions without a sentiment (surprise, boredom) are left out and the rest scaled to one.
    """
    table = np.array(
        [[EMOTION_TO_SENTIMENT.get(e) == s for s in SENTIMENTS] for e in emotions], np.float32
    )
    total = probabilities @ table
    return np.asarray(
        total / np.maximum(total.sum(axis=-1, keepdims=True), np.float32(1e-12)), dtype=np.float32
    )
