"""`voicetone pretrain`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Run

from voicetone.training import run


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "pretrain"\nname = "mine"\naudio = ["nowhere-at-all"]\n')
    return path


def test_a_pretraining_is_run_with_its_overrides(
    voicetone: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def train(path: Path, overrides: list[str]) -> Path:
        seen.extend([path, overrides])
        return Path("runs/mine")

    monkeypatch.setattr(run, "train", train)
    done = voicetone("pretrain", recipe, "settings.steps=3")
    assert (done.code, done.out) == (0, "runs/mine\n")
    assert seen == [recipe, ["settings.steps=3"]]


def test_audio_that_is_not_there_is_named(voicetone: Run, recipe: Path) -> None:
    done = voicetone("pretrain", recipe)
    assert done.code == 3
    (line,) = done.errors
    assert "nowhere-at-all: no such recordings" in line


@pytest.mark.parametrize(
    ("text", "words", "what"),
    [
        ('kind = "tone"\n', [], "of kind 'tone'"),
        ("", [], "of kind None"),
        ('kind = "pretrain"\n', ["steps"], "not of the form key=value"),
    ],
)
def test_what_is_no_pretraining_is_refused(
    voicetone: Run, recipe: Path, text: str, words: list[str], what: str
) -> None:
    recipe.write_text(text)
    done = voicetone("pretrain", recipe, *words)
    assert done.code == 2
    (line,) = done.errors
    assert what in line


def test_a_recipe_that_is_not_there(voicetone: Run, tmp_path: Path) -> None:
    done = voicetone("pretrain", tmp_path / "none.toml")
    assert done.code == 2
    assert "no such recipe" in done.errors[0]
