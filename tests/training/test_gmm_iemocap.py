"""The recipe of codes on a mixture for IEMOCAP, end to end on a made-up folder in its layout.

Two commands, run from the folder that a licence holder would be in. The recipe is the committed
one, but for the size and number of trainings.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from training.toy_iemocap import EACH, HAPPY, HIGH, LOW, MIDDLE, make, run
from voicetone.evaluation.table import concatenate, read_predictions

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "gmm-aae-iemocap.toml"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the recipe."""
    folder = tmp_path_factory.mktemp("licensed")
    make(folder / "IEMOCAP_full_release", (LOW, MIDDLE, HIGH, HAPPY))
    text = RECIPE.read_text("utf-8").replace("size = 100", "size = 10")
    for name in ("gmm-aae", "autoencoder"):
        line = f'name = "{name}"\n'
        assert text.count(line) == 1
        text = text.replace(line, f"{line}hidden = [16]\nepochs = 3\nbatch = 16\n")
    text = text.replace('codes = "raw"', 'codes = "raw"\nbatch = 16')
    text = text.replace('codes = "lda"', 'codes = "lda"\nbatch = 16')
    text = text.replace('codes = "pca"', 'codes = "pca"\nbatch = 16')
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    run(folder, "corpus prepare iemocap IEMOCAP_full_release --out iemocap.csv")
    run(folder, "train recipe.toml seeds=[0] jobs=1 out=made")
    return folder / "made"


def test_the_recipe_is_the_papers() -> None:
    recipe = tomllib.loads(RECIPE.read_text("utf-8"))
    assert recipe["targets"] == [{"name": "emotion", "rule": "sahu-4490"}]
    (codes,) = [s for s in recipe["systems"] if s["name"] == "gmm-aae"]
    assert not set(codes) & {"hidden", "epochs", "size", "features"}  # the defaults are the paper's


def test_sessions_are_left_out_in_turn(table: Path) -> None:
    folds = json.loads((table / "emotion" / "raw" / "folds.json").read_text("utf-8"))["folds"]
    assert len(folds) == 5
    for fold in folds:
        sessions = [{key.rpartition("/")[2][:5] for key in fold[p]} for p in
                    ("train", "validation", "test")]  # fmt: skip
        assert [len(s) for s in sessions] == [3, 1, 1]
        assert not sessions[0] & sessions[1]
        assert not sessions[2] & (sessions[0] | sessions[1])


def test_the_table_has_every_system(table: Path) -> None:
    found = json.loads((table / "table.json").read_text("utf-8"))["targets"][0]
    recipe = tomllib.loads(RECIPE.read_text("utf-8"))
    assert [r["system"] for r in found["rows"]] == [s["name"] for s in recipe["systems"]]
    assert "sahu-4490" in found["labels"]
    predictions = table / "emotion" / "gmm-aae" / "predictions"
    told = concatenate([read_predictions(p) for p in sorted(predictions.iterdir())])
    assert len(set(told.id.tolist())) == len(told.id) == 5 * 2 * EACH
    assert told.labels == ("anger", "happiness", "sadness", "neutral")
