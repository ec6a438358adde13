"""IEMOCAP's recipe, end to end on a made-up folder in the corpus's exact layout.

Two commands, as its page says them, run from the folder that a licence holder would be in. The
recipe is the committed one, but for the number of epochs, of seeds and of frames.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from training.toy_iemocap import EACH, make, run
from voicetone.evaluation.table import concatenate, read_predictions

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "aae-iemocap.toml"
pytestmark = pytest.mark.timeout(600)  # 15 small trainings, on a busy machine
ATTRIBUTES = ("activation", "valence", "dominance")
SYSTEMS = ("utt-base", "utt-vanilla", "utt-optimized", "fr-base", "fr-optimized")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the two commands were run."""
    folder = tmp_path_factory.mktemp("licensed")
    make(folder / "IEMOCAP_full_release")
    (folder / "recipes").mkdir()
    text = RECIPE.read_text("utf-8")
    for whole, small in (("epochs = 100", "epochs = 1"), ("frames = 1024", "frames = 8")):
        assert whole in text
        text = text.replace(whole, small)
    (folder / "recipes" / "aae-iemocap.toml").write_text(text, encoding="utf-8")
    run(folder, "corpus prepare iemocap IEMOCAP_full_release --out iemocap.csv")
    run(folder, "train recipes/aae-iemocap.toml seeds=[0] jobs=1")
    return folder


def test_the_recipe_is_the_papers() -> None:
    recipe = tomllib.loads(RECIPE.read_text("utf-8"))
    assert recipe["seeds"] == list(range(10))
    assert [t["name"] for t in recipe["targets"]] == list(ATTRIBUTES)
    assert [s["name"] for s in recipe["systems"]] == list(SYSTEMS)
    assert {s["epochs"] for s in recipe["systems"]} == {100}
    assert {s["features"]["frames"] for s in recipe["systems"][3:]} == {1024}
    page = (ROOT / "docs" / "aae.md").read_text("utf-8")
    assert "voicetone corpus prepare iemocap IEMOCAP_full_release --out iemocap.csv" in page
    assert "voicetone train recipes/aae-iemocap.toml\n" in page


def test_folds_are_the_papers(home: Path) -> None:
    """Ten folds: four sessions train, of the fifth one speaker validates and one tests."""
    run = home / "runs" / "aae-iemocap" / "activation" / "utt-base"
    folds = json.loads((run / "folds.json").read_text("utf-8"))["folds"]
    assert len(folds) == 10

    def speakers(ids: list[str]) -> set[str]:
        return {key.rpartition("/")[2][:5] + key.rpartition("_")[2][0] for key in ids}

    for fold in folds:
        train, validation, test = (speakers(fold[p]) for p in ("train", "validation", "test"))
        assert (len(train), len(validation), len(test)) == (8, 1, 1)
        (one,), (other,) = validation, test
        assert one[:5] == other[:5]
        assert one != other
        assert not {s[:5] for s in train} & {one[:5]}
    assert {s for f in folds for s in speakers(f["test"])} == {
        f"Ses0{n}{sex}" for n in range(1, 6) for sex in "FM"
    }


def test_the_table_is_printed(home: Path) -> None:
    root = home / "runs" / "aae-iemocap"
    found = json.loads((root / "table.json").read_text("utf-8"))
    assert [t["target"] for t in found["targets"]] == list(ATTRIBUTES)
    for target in found["targets"]:
        assert [r["system"] for r in target["rows"]] == list(SYSTEMS)
        assert [r["baseline"] for r in target["rows"]] == [
            None, "utt-base", "utt-base", None, "fr-base",
        ]  # fmt: skip
        assert target["utterances"] == 5 * 2 * EACH
        assert "le2.5-ge3.5" in target["labels"]
        assert target["majority_rate"] == pytest.approx(3 / 8)
        for row in target["rows"]:
            assert row["uar"]["low"] <= row["uar"]["mean"] <= row["uar"]["high"]
    printed = (home / "printed.txt").read_text("utf-8")
    assert (root / "table.md").read_text("utf-8").strip() in printed


def test_every_utterance_is_tested_once(home: Path) -> None:
    for target in ATTRIBUTES:
        for name in SYSTEMS:
            folder = home / "runs" / "aae-iemocap" / target / name / "predictions"
            table = concatenate([read_predictions(p) for p in sorted(folder.iterdir())])
            assert len(set(table.id.tolist())) == len(table.id) == 5 * 2 * EACH
            assert table.labels == ("low", "mid", "high")
