"""The toy model, loaded once."""

from __future__ import annotations

import pytest
from tests.toy import make_toy_bundle

from voicetone.pretrained import OnnxPredictor, load


@pytest.fixture(scope="session")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> OnnxPredictor:
    return load(make_toy_bundle(tmp_path_factory.mktemp("toy")))
