"""The tables of `docs/speaker.md` are those of what was measured."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from voicetone.types import SENTIMENTS, ChannelResult, Overall, Window


def loaded(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    spec = importlib.util.spec_from_file_location(name, root / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return loaded("speaker_split", root, monkeypatch)


def test_the_page_says_what_was_measured(script: ModuleType) -> None:
    page = script.PAGE.read_text("utf-8")
    result = json.loads(script.RESULT.read_text("utf-8"))
    assert script.with_tables(page, result) == page
    assert f"{100 * result['rows'][0]['der']:.1f} %" in page


def party(*windows: tuple[float, float, float] | None, overall: float) -> ChannelResult:
    """A party whose windows have these scores, and an overall share that is positive."""
    made = [
        Window(
            start=2.5 * i,
            end=2.5 * i + 5,
            speech=row is not None,
            speech_seconds=0.0 if row is None else 2.5,
            sentiment=None if row is None else dict(zip(SENTIMENTS, row, strict=True)),
            emotion=None,
        )
        for i, row in enumerate(windows)
    ]
    shares = dict(zip(SENTIMENTS, (overall, 1 - overall, 0.0), strict=True))
    total = Overall(5.0, None, None, shares, None)
    return ChannelResult(1, None, (), tuple(made), (), total, ())


def test_what_a_split_makes_of_a_tone(
    script: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone = loaded("speaker_split_tone", root, monkeypatch)
    truth = party((0.8, 0.1, 0.1), (0.4, 0.3, 0.3), None, (0.1, 0.1, 0.8), None, overall=0.5)
    found = party((0.6, 0.3, 0.1), (0.2, 0.7, 0.1), (1, 0, 0), None, None, overall=0.2)
    row = tone.compared([(found, truth), (None, truth)], 0.5)
    assert row == {
        "parties": 2,
        "windows": 6,
        "found": 2,
        "quiet": 4,
        "invented": 1,
        "same_label": 0.5,  # of the second the truth is not sure
        "window_difference": pytest.approx((0.4 / 3 + 0.8 / 3) / 2, abs=1e-4),
        "overall_difference": pytest.approx(0.2, abs=1e-4),
    }
    result = json.loads(script.RESULT.read_text("utf-8"))["tone"]
    kinds = {(r["audio"], r["encoder"].partition("-")[0]) for r in result["rows"]}
    assert len(kinds) == len(result["rows"]) == 9
