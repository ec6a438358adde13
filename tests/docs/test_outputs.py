"""The page on output formats names every field and column, and its example is a real result."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from voicetone.cli.writers import columns
from voicetone.types import EMOTIONS, SENTIMENTS, FileResult

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "outputs.md").read_text("utf-8")


def example() -> dict[str, Any]:
    found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_example_reads_as_a_result_and_is_complete() -> None:
    assert FileResult.from_dict(example()).to_dict() == example()


def test_scores_of_the_example_add_up_to_one() -> None:
    overall = example()["channels"][0]["overall"]
    for space in ("sentiment", "emotion"):
        assert abs(sum(overall[space].values()) - 1) < 1e-9


def test_every_field_is_explained() -> None:
    def fields(data: Any) -> set[str]:
        if isinstance(data, list):
            return set().union(*map(fields, data), set())
        if isinstance(data, dict) and not set(data) <= {*EMOTIONS, *SENTIMENTS}:
            return set(data).union(*map(fields, data.values()))
        return set()

    table = PAGE.partition("| field | holds |")[2]
    assert {name for name in fields(example()) if f"`{name}`" not in table} == set()


def test_every_column_is_explained() -> None:
    table = PAGE.partition("| column | holds |")[2]
    spaces = {"sentiment": SENTIMENTS, "emotion": ("anger",)}
    assert [name for name in columns(spaces) if f"`{name}`" not in table] == []
