from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.toy import setting as _set
from tests.toy import spec

from voicetone.errors import BundleError
from voicetone.pretrained.spec import BundleSpec, parse_spec

HASH = {"sha256": "0" * 64, "bytes": 1}
WHERE = Path("somewhere/bundle.json")


def _content() -> dict[str, Any]:
    return {**spec(), "files": {"encoder.onnx": HASH, "head.onnx": HASH}}


def _parse(content: object) -> BundleSpec:
    return parse_spec(json.dumps(content).encode(), WHERE)


def test_a_whole_specification() -> None:
    parsed = _parse(_content())
    assert parsed.id == "toy 0.1.0"
    assert parsed.spectral.size == 20
    assert parsed.space("emotion").labels == ("anger", "happiness", "sadness", "neutral")
    assert json.loads(parsed.model_dump_json(exclude_defaults=True)) == _content()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("format", value=3), "format '3' is unknown .* update voicetone"),
        (_set("format", value=True), "format 'True' is unknown"),
        (_set("name", value="../tone"), "name"),
        (_set("version", value=1), "version"),
        (_set("surprise", value=1), "surprise: Extra"),
        (_set("sample_rate", value=8000), "sample_rate must be 16000"),
        (_set("window_seconds", value=4.0), "window_seconds must be 5"),
        (_set("frame_samples", value=250), "frame_samples must be 500"),
        (_set("label_spaces", "sentiment", value=["good", "bad"]), "sentiments must be"),
        (_set("label_spaces", "emotion", value=[]), "label_spaces.emotion"),
        (_set("label_spaces", "emotion", value=["joy", "joy"]), "listed twice"),
        (_set("label_spaces", "emotion", value=[f"e{i}" for i in range(65)]), "emotion"),
        (_set("label_spaces", "emotion", value=["<script>"]), "emotion"),
        (_set("features", "mels", value=64.5), "whole numbers"),
        (_set("features", "mels", value=4000), "out of range"),
        (_set("features", "colour", value=1), "unknown feature settings colour"),
        (_set("features", "mel_low", value="60"), "mel_low"),
        (_set("state_size", value=0), "state_size"),
        (_set("state_size", value=1 << 40), "state_size"),
        (_set("embedding_size", value="16"), "embedding_size"),
        (_set("graphs", "encoder", value="../encoder.onnx"), "graphs.encoder"),
        (_set("graphs", "encoder", value="/etc/passwd"), "graphs.encoder"),
        (_set("graphs", "head", value="other.onnx"), "no hash for other.onnx"),
        (_set("temperature", "sentiment", value=0.0), "temperature.sentiment"),
        (_set("temperature", "emotion", value=float("nan")), "NaN|JSON|finite"),
        (_set("speech", "threshold", value=1.5), "speech.threshold"),
        (_set("speech", "onset_frames", value=0), "speech.onset_frames"),
        (_set("dont_know", "curve", value=[[0.1, 0.2]]), "dont_know.curve"),
        (_set("notice", value="two\nlines"), "notice"),
        (_set("attribution", value="me"), "attribution"),
        (_set("files", "encoder.onnx", value={"sha256": "x", "bytes": 1}), "sha256"),
        (_set("files", "encoder.onnx", "bytes", value=(64 << 20) + 1), "bytes"),
        (_set("files", "a/b", value=HASH), "files"),
        (_set("files", "..", value=HASH), "files"),
    ],
)
def test_what_is_refused(change: Callable[[dict[str, Any]], None], words: str) -> None:
    content = copy.deepcopy(_content())
    change(content)
    with pytest.raises(BundleError, match=words) as caught:
        _parse(content)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", sorted(spec()))
def test_nothing_may_be_missing(key: str) -> None:
    content = _content()
    del content[key]
    with pytest.raises(BundleError, match="format|" + key):
        _parse(content)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"PK\x03\x04", b"[1]", b"{}", b"null", b"[" * 100_000, b"1" * 100_000],
    ids=["empty", "bytes", "zip", "list", "object", "null", "deep", "digits"],
)
def test_other_files_are_no_bundle(data: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        parse_spec(data, WHERE)
    assert "\n" not in str(caught.value)
