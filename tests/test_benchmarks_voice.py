"""The pages of voice tone say what the numbers beside them say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def benchmarks(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """On the path of imports, as when a script in it runs."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return root / "docs" / "results"


def test_the_page_of_voice_tone_is_made_from_its_rows(benchmarks: Path) -> None:
    from voice_tone_page import page

    rows = json.loads((benchmarks / "voice-tone.json").read_text(encoding="utf-8"))["rows"]
    text = (benchmarks / "voice-tone.md").read_text(encoding="utf-8")
    assert page(rows, benchmarks / "voice-tone") == text
    assert page(rows[:-2], benchmarks / "voice-tone") != text


def test_the_page_of_the_made_corpus_has_every_row(benchmarks: Path) -> None:
    from voice_made import page

    rows = json.loads((benchmarks / "voice-made.json").read_text(encoding="utf-8"))["rows"]
    text = (benchmarks / "voice-made.md").read_text(encoding="utf-8")
    table = page(rows, {}).partition("## Where")[0]
    assert text.startswith(table)
    assert all(f"| {row['system']} |" in table for row in rows)
