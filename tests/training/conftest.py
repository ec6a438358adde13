"""What tests of trainings share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from training import toy_corpus


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_corpus.make(tmp_path_factory.mktemp("made") / "toy")


@pytest.fixture
def corpus(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the corpus that a test may spoil; features are shared by all tests."""
    monkeypatch.setenv("VOICETONE_CACHE", str(made.parent / "cache"))
    shutil.copytree(made, tmp_path / "toy")
    return tmp_path / "toy"
