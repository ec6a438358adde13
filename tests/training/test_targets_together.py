"""Targets that are trained as one program give what each gives alone, in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training import toy_gmm, toy_targets
from training.toy_aae import double_precision
from training.toy_targets import TARGETS, alone, apart, files, hashes, told
from voicetone.errors import DataError
from voicetone.models import aae
from voicetone.training import aae_run, gmm_match, gmm_run
from voicetone.training.replica_checkpoint import read_checkpoint, read_codes_checkpoint
from voicetone.training.replica_data import Job, Scaling, Values, batch
from voicetone.training.run import train
from voicetone.training.runs import RunFolder

SYSTEM = """
[[systems]]
name = "{}"
epochs = 3
batch = {}
style = 6
features = {{ name = "mfcc"{} }}
{}
"""
SYSTEMS = {
    "base": (16, "", 'network = "base"'),
    "vanilla": (16, ', normalise = "speaker"', "rate = 1e-3\nnoise = 0.1\nlabelled = 0.5"),
    "more-steps": (23, "", 'network = "base"'),  # sentiment makes fewer an epoch
    "optimized": (16, "", 'preset = "optimized"\nprior = "training"'),
    "frames": (16, ', frames = 16, normalise = "none"', ""),
}
SINGLE = ("base", "vanilla", "more-steps")
DOUBLE = ("optimized", "frames")
"""Whose rounding errors grow: batch normalisation and many layers let them."""
CODES = {
    **{name: toy_gmm.SYSTEMS[name] for name in ("gmm-aae", "synthetic-only")},
    "lda": ("lda", "size = 1"),
}
STACKED = ("sentiment", "activation")
FOLDS = 5


@pytest.fixture(scope="module", autouse=True)
def _quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Features are shared by all tests; codes are told from samples with two draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICETONE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(gmm_match, "_DRAWS", 2)
        yield


def aae_systems(*names: str) -> str:
    return "".join(SYSTEM.format(name, *SYSTEMS[name]) for name in names)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_targets.make(tmp_path_factory.mktemp("aae"), "aae", aae_systems(*SINGLE))


@pytest.fixture(scope="module")
def one_by_one(recipe: Path) -> Path:
    return alone(recipe, recipe.parent / "alone")


@pytest.fixture(scope="module")
def codes_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    systems = "".join(toy_gmm.system(name, *CODES[name]) for name in CODES)
    return toy_targets.make(tmp_path_factory.mktemp("codes"), "gmm-aae", systems)


@pytest.fixture
def few(recipe: Path, tmp_path: Path) -> Path:
    """The recipe with one quick system."""
    text = recipe.read_text(encoding="utf-8").split("\n[[systems]]")[0]
    path = tmp_path / "few.toml"
    path.write_text(text + aae_systems("vanilla"), encoding="utf-8")
    return path


def spy(patch: pytest.MonkeyPatch, where: Any, name: str) -> list[list[Job]]:
    """The jobs of every program."""
    real, seen = getattr(where, name), list[list[Job]]()

    def watched(data: Any, jobs: list[Job], *more: Any, **others: Any) -> Any:
        seen.append(list(jobs))
        return real(data, jobs, *more, **others)

    patch.setattr(where, name, watched)
    return seen


def counts(programs: list[list[Job]]) -> list[list[int]]:
    """How many jobs of each target, for each program."""
    return [np.bincount([job.target for job in jobs]).tolist() for jobs in programs]


def test_a_target_may_have_seeds_of_its_own(few: Path, tmp_path: Path) -> None:
    text = few.read_text(encoding="utf-8")
    name = f'{{ name = "{STACKED[0]}", '
    own = tmp_path / "own.toml"
    own.write_text(text.replace(name, f"{name}seeds = [0, 3], ", 1), encoding="utf-8")
    root = train(own, [f"out={tmp_path / 'own'}", "seeds=[0]"])
    other = train(few, [f"out={tmp_path / 'few'}", "seeds=[0]"])
    said = {t["target"]: t["seeds"] for t in told(root / "table.json")["targets"]}
    assert {k: v for k, v in said.items() if v != [0]} == {STACKED[0]: [0, 3]}
    assert told(root / STACKED[0] / "vanilla" / "metrics.json")["seeds"] == [0, 3]
    for name in TARGETS:
        assert hashes(root / name / "vanilla") == hashes(other / name / "vanilla")


def test_targets_are_trained_together_where_they_can_be(
    recipe: Path, one_by_one: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        programs = spy(patch, aae_run, "fit")
        root = train(recipe, [f"out={recipe.parent / 'together'}"])
    both, own = [FOLDS, FOLDS], [FOLDS]
    assert counts(programs) == [both, own] * 2 + [own] * 3
    assert files(root) == files(one_by_one)
    for name in SINGLE:
        for target in TARGETS:
            here, there = (place / target / name for place in (root, one_by_one))
            assert apart(here, there) < 1e-4, (target, name)
            assert (here / "recipe.json").read_text() == (there / "recipe.json").read_text()
            assert hashes(here) == hashes(there)
            for path in (here / "curves").iterdir():
                curves, wanted = told(path), told(there / "curves" / path.name)
                assert curves.keys() == wanted.keys()
                for curve in curves:
                    assert curves[curve] == pytest.approx(wanted[curve], abs=1e-3), (path, curve)
    said = capfd.readouterr().err
    assert "sentiment/base: 115 utterances, label rule sentiment" in said
    assert "5 replicas, 5 steps an epoch; trained together with activation\n" in said
    assert "5 replicas, 5 steps an epoch; trained together with sentiment\n" in said
    assert "5 replicas, 5 steps an epoch\n" in said  # the level of activation


def test_checkpoints_are_those_of_each_target(recipe: Path, one_by_one: Path) -> None:
    root = train(recipe, [f"out={recipe.parent / 'together'}"])
    for name in SINGLE:
        for target in TARGETS:
            for path in (root / target / name / "checkpoints").iterdir():
                wanted = read_checkpoint(one_by_one / path.relative_to(root))
                found = read_checkpoint(path)
                assert found.labels == wanted.labels
                assert found.mean.shape == wanted.mean.shape
                assert torch.allclose(found.mean, wanted.mean, atol=1e-4, rtol=1e-5)
                assert torch.allclose(found.scale, wanted.scale, atol=1e-4, rtol=1e-5)
                state = wanted.net.state_dict()
                for key, value in found.net.state_dict().items():
                    if key.startswith("encoder"):
                        assert torch.allclose(value, state[key], atol=1e-3), (path, key)


def test_runs_of_single_targets_are_recognised(
    one_by_one: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aae_run, "fit", lambda *_: pytest.fail("it trained"))
    train(recipe, [f"out={one_by_one}"])
    found = told(one_by_one / "table.json")["targets"]
    assert [target["target"] for target in found] == list(TARGETS)
    assert [len(target["rows"]) for target in found] == [len(SINGLE)] * 3


@pytest.mark.parametrize("at_once", [3, 7])
def test_programs_are_bounded(
    few: Path, one_by_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    programs = spy(monkeypatch, aae_run, "fit")
    root = train(few, [f"out={tmp_path / 'run'}", f"at_once={at_once}"])
    wanted = {3: [[3], [2, 1], [0, 3], [0, 1], [3], [2]], 7: [[5, 2], [0, 3], [5]]}
    assert counts(programs) == wanted[at_once]
    for target in TARGETS:
        assert apart(root / target / "vanilla", one_by_one / target / "vanilla") < 1e-4


def test_a_run_that_was_killed_goes_on(
    few: Path, one_by_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One target is complete, of another two folds are; the third has not begun."""
    kept, real = [0], RunFolder.keep

    def killed(*arguments: Any) -> None:
        kept[0] += 1
        if kept[0] > FOLDS + 2:
            raise KeyboardInterrupt
        real(*arguments)

    root = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            train(few, [f"out={root}"])
    done = [len(list((root / t / "vanilla").glob("predictions/*"))) for t in TARGETS]
    assert done == [FOLDS, 2, 0]
    programs = spy(monkeypatch, aae_run, "fit")
    train(few, [f"out={root}"])
    assert [[job.fold for job in jobs] for jobs in programs] == [[2, 3, 4], [0, 1, 2, 3, 4]]
    for target in TARGETS:
        assert apart(root / target / "vanilla", one_by_one / target / "vanilla") < 1e-4
        assert (root / target / "vanilla" / "metrics.json").exists()


def test_parts_of_two_targets_are_trained_again(few: Path, tmp_path: Path) -> None:
    root = train(few, [f"out={tmp_path / 'run'}"])
    shutil.copytree(root, tmp_path / "before")
    gone = {"sentiment": (1, 3), "activation": (0,)}
    for target, folds in gone.items():
        for fold in folds:
            (root / target / "vanilla" / "predictions" / f"toy-s{fold}-0.parquet").unlink()
    with pytest.MonkeyPatch.context() as patch:
        programs = spy(patch, aae_run, "fit")
        train(few, [f"out={root}"])
    assert [[(job.target, job.fold) for job in jobs] for jobs in programs] == [
        [(0, 1), (0, 3), (1, 0)]
    ]
    for target in TARGETS:
        folder = Path(target) / "vanilla"
        assert apart(root / folder, tmp_path / "before" / folder) < 1e-4


def test_what_diverges_is_named_with_its_target(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = aae.classification_loss, [0]

    def spoilt(logits: Tensor, truth: Tensor) -> Tensor:
        calls[0] += 1
        factor = torch.ones(len(logits))
        if calls[0] == 7 and len(factor) == 2 * FOLDS:
            factor[FOLDS + 2] = float("nan")
        return real(logits, truth) * factor

    root = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(aae, "classification_loss", spoilt)
        with pytest.raises(DataError, match="fold toy s2, seed 0 diverged: a loss is") as caught:
            train(few, [f"out={root}", 'checkpoints="none"'])
    kept = root / "activation" / "vanilla" / "checkpoints" / "toy-s2-0.safetensors"
    assert str(kept) in str(caught.value)
    assert len(read_checkpoint(kept).labels[0]) == 3
    assert not (root / "sentiment" / "vanilla" / "checkpoints").exists()
    done = [sorted(p.stem for p in (root / t / "vanilla").glob("predictions/*")) for t in TARGETS]
    assert done == [
        [f"toy-s{i}-0" for i in range(5)], [f"toy-s{i}-0" for i in (0, 1, 3, 4)], [],
    ]  # fmt: skip
    assert (root / "sentiment" / "vanilla" / "metrics.json").exists()  # complete: scored
    assert not (root / "activation" / "vanilla" / "metrics.json").exists()
    assert len(list((root / "activation" / "vanilla" / "curves").iterdir())) == FOLDS
    train(few, [f"out={root}", 'checkpoints="none"'])
    assert (root / "table.md").exists()


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with double_precision(monkeypatch):
        yield


@pytest.mark.parametrize("name", DOUBLE)
@pytest.mark.usefixtures("double")
def test_batch_norm_and_frames_of_targets_together(name: str, recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text(encoding="utf-8").split("\n[[systems]]")[0] + aae_systems(name)
    path = tmp_path / "one.toml"
    path.write_text(text, encoding="utf-8")
    both = [toy_targets.targets(*names) for names in (("sentiment",), ("activation",), STACKED)]
    roots = [tmp_path / "alone", tmp_path / "alone", tmp_path / "together"]
    with pytest.MonkeyPatch.context() as patch:
        programs = spy(patch, aae_run, "fit")
        for shown, root in zip(both, roots, strict=True):
            train(path, [f"out={root}", shown, 'checkpoints="none"'])
    assert counts(programs) == [[FOLDS], [FOLDS], [FOLDS, FOLDS]]
    for target in STACKED:
        assert apart(roots[0] / target / name, roots[2] / target / name) < 1e-4


def test_codes_of_targets_together(codes_recipe: Path) -> None:
    """Networks, statistics and synthetic samples; what is written beside the predictions, too."""
    one_by_one = alone(codes_recipe, codes_recipe.parent / "alone")
    with pytest.MonkeyPatch.context() as patch:
        programs = spy(patch, gmm_run, "fit_codes")
        root = train(codes_recipe, [f"out={codes_recipe.parent / 'together'}"])
    assert counts(programs) == [[FOLDS, FOLDS], [FOLDS]]
    assert files(root) == files(one_by_one)
    for target in TARGETS:
        for name in CODES:
            here, there = (place / target / name for place in (root, one_by_one))
            assert apart(here, there) < 1e-4, (target, name)
            assert (here / "recipe.json").read_text() == (there / "recipe.json").read_text()
            for path in (*here.glob("codes/*"), *here.glob("snapshots/*")):
                one, two = (np.load(p) for p in (path, there / path.parent.name / path.name))
                for key in one:
                    assert one[key] == pytest.approx(two[key], abs=1e-4), (path, key)
        assert len(list((root / target / "gmm-aae" / "snapshots").iterdir())) == 1
        for path in (root / target / "gmm-aae" / "checkpoints").iterdir():
            wanted = read_codes_checkpoint(one_by_one / path.relative_to(root))
            assert read_codes_checkpoint(path).labels == wanted.labels


def test_joint_targets_stay_one_network(few: Path, tmp_path: Path) -> None:
    shown = toy_targets.targets("activation", "level").replace("activation-binary", "activation")
    with pytest.MonkeyPatch.context() as patch:
        programs = spy(patch, aae_run, "fit")
        train(few, [f"out={tmp_path / 'run'}", shown, "joint=true"])
    assert counts(programs) == [[FOLDS]]


# Normalisation: a target hears nothing of what it leaves out.


def _values() -> tuple[list[np.ndarray], list[str], list[str]]:
    rng = np.random.default_rng(3)
    speakers = [f"s{i // 6}" for i in range(30)]
    corpora = ["a" if i < 18 else "b" for i in range(30)]
    each = [rng.normal(i // 6, 1 + i % 3, 4).astype(np.float32) for i in range(30)]
    return each, speakers, corpora


@pytest.mark.parametrize("kind", ["none", "global", "corpus", "speaker"])
def test_normalisation_is_that_of_a_target_alone(kind: Any) -> None:
    """The second target leaves out a whole speaker, a whole corpus, and its order is another."""
    each, speakers, corpora = _values()
    places = [np.arange(30), np.array([17, 3, 4, 5, 8, 0, 1, 9, 10, 12, 14])]
    jobs = [
        Job(0, 0, 1, np.arange(4, 25), np.arange(0), np.arange(2), np.arange(2, 4), target=0),
        Job(0, 0, 1, np.arange(2, 8), np.arange(8, 9), np.arange(2), np.arange(9, 11), target=1),
    ]
    values = Values(each, 0, torch.device("cpu"))
    together = Scaling.of(values, jobs, kind, 3.0, speakers, corpora, places)
    for index, (job, place) in enumerate(zip(jobs, places, strict=True)):
        own = Values([each[i] for i in place], 0, torch.device("cpu"))
        lone = Job(0, 0, 1, job.labelled, job.unlabelled, job.validation, job.test)
        names = [[group[i] for i in place] for group in (speakers, corpora)]
        wanted = Scaling.of(own, [lone], kind, 3.0, *names)
        every = torch.arange(len(place))[None]
        found = batch(values, together.alone(index), every)[0]
        assert torch.allclose(found, batch(own, wanted, every)[0], atol=1e-5)
        here, there = together.whole(values, index), wanted.whole(own, 0)
        for key, value in here.items():
            assert value.shape == there[key].shape
            assert torch.allclose(value, there[key], atol=1e-5)
    assert together.whole(values, 0)["mean"].shape[0] != {"speaker": 3, "corpus": 1}.get(kind, 0)
