"""Format 2 of `bundle.json`."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.toy import setting as _set
from tests.toy_window import MFCC, window_spec

from voicetone.errors import BundleError
from voicetone.pretrained.spec import BundleSpec, WindowSpec, parse_spec

HASH = {"sha256": "0" * 64, "bytes": 1}
WHERE = Path("somewhere/bundle.json")
SMILE = {**MFCC, "name": "ComParE_2016", "size": 6373, "opensmile": "2.6.0"}
SENTIMENT_ONLY = {"sentiment": ["positive", "neutral", "negative"], "emotion": []}


def _content(**changes: Any) -> dict[str, Any]:
    return {**window_spec(), "files": {"classifier.onnx": HASH}, **changes}


def _parse(content: object) -> BundleSpec:
    return parse_spec(json.dumps(content).encode(), WHERE)


def test_a_whole_specification() -> None:
    parsed = _parse(_content())
    assert isinstance(parsed, WindowSpec)
    assert json.loads(parsed.model_dump_json(exclude_defaults=True)) == _content()
    assert parsed.speech_from == "energy"
    assert parsed.hears == "mfcc functionals of each window"
    parsed.require_extras()
    assert "openSMILE 2.6.0 (for research" in _parse(_content(features=SMILE)).hears


def test_a_sentiment_network_names_no_emotion() -> None:
    parsed = _parse(_content(head="sentiment", label_spaces=SENTIMENT_ONLY))
    assert parsed.space("emotion").labels == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("speaker_enrolment", value={"mean": [0.0]}), "speaker_enrolment: Extra"),
        (_set("features", "speaker", value="me"), "features.speaker: Extra"),
        (_set("state_size", value=8), "state_size: Extra"),
        (_set("features", "name", value="shout"), "name is none of"),
        (_set("features", "opensmile", value="2.6.0"), "opensmile must be"),
        (_set("features", value={**SMILE, "opensmile": None}), "opensmile must be"),
        (_set("features", "size", value=0), "features.size"),
        (_set("features", "step", value=0), "features.step"),
        (_set("features", "frames", value=-4), "features.frames"),
        (_set("features", "cut_seconds", value=0.0), "features.cut_seconds"),
        (_set("graphs", value={"encoder": "e", "head": "h"}), "graphs.classifier"),
        (_set("graphs", "classifier", value="other.onnx"), "no hash for other.onnx"),
        (_set("head", value="age"), "head"),
        (_set("head", value="sentiment"), "must have labels if head is emotion, else not"),
        (_set("label_spaces", value=SENTIMENT_ONLY), "must have labels if head is emotion"),
        (_set("label_spaces", "emotion", value=["surprise"]), "none of the emotions has a sent"),
        (_set("window_seconds", value=4.0), "window_seconds must be 5"),
    ],
)
def test_what_is_refused(change: Callable[[dict[str, Any]], None], words: str) -> None:
    content = copy.deepcopy(_content())
    change(content)
    with pytest.raises(BundleError, match=words) as caught:
        _parse(content)
    assert "\n" not in str(caught.value)


def test_another_release_of_opensmile_is_refused() -> None:
    old = _parse(_content(features={**SMILE, "opensmile": "1.0.1"}))
    with pytest.raises(BundleError, match=r"trained with 1\.0\.1.*pip install opensmile==1\.0\.1"):
        old.require_extras()
