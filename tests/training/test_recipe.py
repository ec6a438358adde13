"""Recipes are data: every one in the repository parses, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicetone.errors import DataError, UsageError
from voicetone.training.aae_recipe import AaeRecipe
from voicetone.training.aae_run import baseline_of
from voicetone.training.classifier_recipe import ClassifierRecipe
from voicetone.training.fusion_recipe import FusionRecipe
from voicetone.training.gmm_recipe import CodesRecipe
from voicetone.training.pretrain_recipe import PretrainRecipe
from voicetone.training.recipe import dataclass_from, read_recipe
from voicetone.training.run import train
from voicetone.training.speaker_recipe import SpeakerRecipe
from voicetone.training.systems_data import require_features_that_can_be
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.training.voice_recipe import VoiceRecipe

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.toml"))
KINDS: dict[str, type] = {
    "aae": AaeRecipe,
    "classifier": ClassifierRecipe,
    "fusion": FusionRecipe,
    "gmm-aae": CodesRecipe,
    "pretrain": PretrainRecipe,
    "speaker-aware": SpeakerRecipe,
    "tone": ToneRecipe,
    "voice-tone": VoiceRecipe,
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_parses(path: Path) -> None:
    data = read_recipe(path)
    recipe = dataclass_from(KINDS[data["kind"]], data, path)
    assert recipe.name == path.stem
    if isinstance(recipe, AaeRecipe):
        for system in recipe.systems:
            require_features_that_can_be(system)
            assert system.network == "base" or baseline_of(recipe, system) is not None


def test_overrides(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('kind = "tone"\nsteps = 5\n[network]\nwidth = 8\n')
    data = read_recipe(path, ["steps=7", "network.width=16", "out=runs/x", "a.b=[1, 2]"])
    assert data["steps"] == 7
    assert data["network"]["width"] == 16
    assert data["out"] == "runs/x"
    assert data["a"] == {"b": [1, 2]}


@pytest.mark.parametrize("word", ["steps", "=3", "steps.x=1"])
def test_bad_overrides(tmp_path: Path, word: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text("steps = 5\n")
    with pytest.raises(UsageError, match=r"override|no table"):
        read_recipe(path, [word])


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    with pytest.raises(DataError, match="no such recipe"):
        train(path)
    path.write_text("steps = = 5\n")
    with pytest.raises(DataError, match="not a TOML file"):
        train(path)
    path.write_text('kind = "poem"\n')
    with pytest.raises(DataError, match="'poem' is unknown"):
        train(path)
    path.write_text('kind = "tone"\nname = "x"\nversion = "1"\nstepps = 3\ncorpora = []\n')
    with pytest.raises(DataError, match="stepps"):
        train(path)


BOTH = """
kind = "classifier"
name = "x"
corpora = [{name = "a"}]
protocol = {name = "speakers"}
model = {name = "linear-svm"}
"""


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["model.C=much"], "model.C=much: "),
        (["jobs=many", "seeds=[1]"], "jobs=many: not a value that the recipe takes: jobs: "),
        (["seedz=[1]"], r"seedz=\[1\]: "),
        (["seeds=[1]", "model.name=cnm"], "model.name=cnm: "),
        (["protocol=groups"], "protocol=groups: "),
    ],
)
def test_an_override_at_fault_is_named(tmp_path: Path, words: list[str], named: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(BOTH)
    with pytest.raises(UsageError, match=f"^{named}") as caught:
        train(path, words)
    assert str(path) not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("C=3", r"^C=3: .*no such key here; did you mean 'model\.C'\?$"),
        ("sedes=[1]", "did you mean 'seeds'"),
        ("seeds=3", r"a list is wanted, as in seeds=\[3\]"),
        ("seeds=[0,0]", "each seed once"),
        ("seeds=[]", "at least 1"),
        ("seeds=[-1]", "greater than or equal to 0"),
        ("model.C=-1", "takes: model.C: Input should be greater than 0"),
        ("model.C=[]", "number"),
        ("model.C=[1,-1]", "greater than 0"),
        ("name=../evil", "can't name a folder"),
        ("name=..", "can't name a folder"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_read(
    tmp_path: Path, word: str, said: str
) -> None:
    path = tmp_path / "r.toml"
    path.write_text(BOTH)
    with pytest.raises((UsageError, DataError), match=said):
        train(path, [word])


def test_a_mistake_of_the_file_is_not_an_overrides(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(BOTH + "poem = 3\n")
    with pytest.raises(DataError, match=r"r\.toml: poem"):
        train(path, ["jobs=2"])
