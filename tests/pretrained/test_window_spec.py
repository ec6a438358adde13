"""Format 2 of `bundle.json`."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.toy import setting as _set
from tests.toy import spec as stream_spec
from tests.toy_speaker import BY_FRAMES, STATISTICS
from tests.toy_window import FRAMES, MFCC, window_spec

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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "face"}, "speaker.kind"),
        ({"encoder": "a b"}, "speaker.encoder"),
        ({"size": 0}, "speaker.size"),
        ({"size": 1 << 20}, "speaker.size"),
        ({"same_voice": 2.0}, "speaker.same_voice"),
        ({"enrol_seconds": 1e9}, "speaker.enrol_seconds"),
        ({"mean": [0.0]}, "speaker.mean: Extra"),
        ({"kind": "onnx"}, "network goes with the kind onnx"),
        ({"kind": "dvector"}, "graphs.speaker goes with a speaker of the kinds dvector, onnx"),
        ({"kind": "frames"}, "needs features with frames"),
    ],
)
def test_a_speaker_that_is_refused(change: dict[str, Any], words: str) -> None:
    assert _parse(_content(speaker=STATISTICS)).speaker is not None
    with pytest.raises(BundleError, match=words) as caught:
        _parse(_content(speaker={**STATISTICS, **change}))
    assert "\n" not in str(caught.value)


def test_frames_of_a_speaker_are_twice_the_features() -> None:
    assert _parse(_content(features=FRAMES, speaker=BY_FRAMES)).speaker is not None
    with pytest.raises(BundleError, match=r"speaker\.size must be 26"):
        _parse(_content(features=FRAMES, speaker={**BY_FRAMES, "size": 13}))


def test_no_speaker_in_a_stream() -> None:
    files = {"encoder.onnx": HASH, "head.onnx": HASH}
    with pytest.raises(BundleError, match="a bundle of format 1 is told of no speaker"):
        _parse({**stream_spec(), "files": files, "speaker": STATISTICS})


def test_another_release_of_opensmile_is_refused() -> None:
    old = _parse(_content(features={**SMILE, "opensmile": "1.0.1"}))
    with pytest.raises(BundleError, match=r"trained with 1\.0\.1.*pip install opensmile==1\.0\.1"):
        old.require_extras()
