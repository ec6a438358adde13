"""faster-whisper and transformers, stood in for by small fakes: what is asked and understood."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voicetone.errors import DataError, MissingExtraError, UsageError
from voicetone.language import Opinion
from voicetone.language.hub import HubLabeller, HubTranscriber, pinned
from voicetone.language.whisper import WhisperTranscriber
from voicetone.types import Waveform

SOUND = Waveform(np.zeros((2, 8_000), np.float32), 8_000)


def module(monkeypatch: pytest.MonkeyPatch, name: str, **names: object) -> None:
    fake = types.ModuleType(name)
    fake.__dict__.update(names)
    monkeypatch.setitem(sys.modules, name, fake)


class Part:
    def __init__(self, text: str, end: float, logprob: float) -> None:
        self.text, self.start, self.end, self.avg_logprob = text, 0.0, end, logprob


def test_faster_whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, dict[str, Any]]] = []
    heard: list[tuple[tuple[int, ...], str | None]] = []

    class WhisperModel:
        parts: tuple[Part, ...] = (Part(" Hello", 3.0, math.log(0.8)), Part(" you.", 1.0, 0.0))

        def __init__(self, name: str, **more: Any) -> None:
            made.append((name, more))

        def transcribe(self, samples: Any, language: str | None, **more: Any) -> Any:
            heard.append((samples.shape, language))
            return iter(self.parts), None

    module(monkeypatch, "faster_whisper", WhisperModel=WhisperModel)
    transcriber = WhisperTranscriber("small@abc")
    said = transcriber.transcribe(SOUND, "pl")
    assert made == [("small", {"revision": "abc"})]
    assert heard == [((16_000,), "pl")]
    assert said.text == "Hello you."
    assert said.confidence == pytest.approx(0.8**0.75)
    assert "small@abc" in transcriber.source
    WhisperModel.parts = ()
    assert transcriber.transcribe(SOUND, None).problem == "no words heard"


Pipeline = Callable[..., Any]


def pipeline_of(
    monkeypatch: pytest.MonkeyPatch, answer: Any, labels: tuple[str, ...] = ()
) -> list[tuple[Any, ...]]:
    """Put in a library whose pipelines give this answer; what they are asked is in the list."""
    calls: list[tuple[Any, ...]] = []

    class Made:
        model = types.SimpleNamespace(
            config=types.SimpleNamespace(id2label=dict(enumerate(labels)))
        )

        def __call__(self, asked: Any, **more: Any) -> Any:
            calls.append((asked, more))
            if isinstance(answer, Exception):
                raise answer
            return answer

    def pipeline(task: str, **more: Any) -> Made:
        calls.append((task, more))
        return Made()

    module(monkeypatch, "transformers", pipeline=pipeline)
    return calls


def test_a_recogniser(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pipeline_of(monkeypatch, {"text": " hello "})
    said = HubTranscriber("org/name@abc").transcribe(SOUND, "en")
    assert (said.text, said.confidence) == ("hello", None)
    task, options = calls[0]
    assert task == "automatic-speech-recognition"
    assert options["revision"] == "abc"
    assert options["model_kwargs"] == {"use_safetensors": True}
    assert "trust_remote_code" not in options
    assert calls[1][0]["raw"].shape == (16_000,)


def test_a_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [[{"label": "NEG", "score": 0.7}, {"label": "POS", "score": 0.3}]]
    calls = pipeline_of(monkeypatch, answer, ("NEG", "POS"))
    found = HubLabeller("org/name@abc").label(["…", "awful"], "en")
    assert found[0].problem == "no words in the transcript"
    assert found[1] == Opinion({"positive": 0.3, "neutral": 0.0, "negative": 0.7})
    assert calls[1] == (["awful"], {"truncation": True})


def test_a_classifier_that_fails_costs_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline_of(monkeypatch, RuntimeError("out of\nmemory"), ("negative", "neutral", "positive"))
    found = HubLabeller("org/name@abc").label(["a", "b"], "en")
    assert found == [Opinion(problem="out of memory", failed=True)] * 2


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1"), ("joy", "anger"), ("neutral",)])
def test_other_classes_are_refused(
    labels: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline_of(monkeypatch, [], labels)
    with pytest.raises(DataError, match="its classes are"):
        HubLabeller("org/name@abc")


def test_names_need_a_revision_and_folders_none(tmp_path: Path) -> None:
    assert pinned(str(tmp_path), "--model") == (str(tmp_path), None)
    assert pinned("org/name@abc", "--model") == ("org/name", "abc")
    for name in ("org/name", "org/name@", "@abc", "/no/such/folder"):
        with pytest.raises(UsageError, match="NAME@REVISION"):
            pinned(name, "--model")


def test_absence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers", "faster_whisper"):
        monkeypatch.setitem(sys.modules, name, None)
    for make in (HubTranscriber, HubLabeller):
        with pytest.raises(MissingExtraError, match="ssl"):
            make("a@b")
    with pytest.raises(MissingExtraError, match="whisper"):
        WhisperTranscriber("a@b")


def test_a_model_that_can_not_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*names: object, **more: object) -> None:
        raise OSError("no such\nmodel")

    module(monkeypatch, "transformers", pipeline=broken)
    module(monkeypatch, "faster_whisper", WhisperModel=broken)
    for make in (HubTranscriber, HubLabeller, WhisperTranscriber):
        with pytest.raises(DataError, match=r"a@b: can't be loaded \(no such model\)"):
            make("a@b")
