"""The toy model that the servers of tests analyse with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.toy import make_toy_bundle
from tests.toy_speaker import make_speaker_bundle

from voicetone.pretrained import load
from voicetone.pretrained.predictor import Predictor


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    return make_toy_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def predictor(bundle: Path) -> Predictor:
    """Loaded."""
    return load(bundle)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a toy model that takes a speaker."""
    return make_speaker_bundle(tmp_path_factory.mktemp("knowing"))


@pytest.fixture(scope="session")
def knowing(folder: Path) -> Predictor:
    """That one, loaded."""
    return load(folder)
