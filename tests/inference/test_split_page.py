"""The tables of `docs/speaker.md` are those of what was measured."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    spec = importlib.util.spec_from_file_location(
        "speaker_split", root / "benchmarks" / "speaker_split.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "speaker_split", module)
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_was_measured(script: ModuleType) -> None:
    page = script.PAGE.read_text("utf-8")
    result = json.loads(script.RESULT.read_text("utf-8"))
    assert script.with_tables(page, result) == page
    assert f"{100 * result['rows'][0]['der']:.1f} %" in page
