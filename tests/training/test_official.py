"""Recipes that take the partitions of corpora as these call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpora import layouts
from voicetone.corpora.registry import read_corpus
from voicetone.corpora.tables import write_manifest
from voicetone.errors import DataError
from voicetone.training.classifier_data import Material, gather
from voicetone.training.classifier_recipe import ClassifierRecipe
from voicetone.training.recipe import dataclass_from

PARTS = ("train", "validation", "test")


def _gather(name: str, folder: Path, **protocol: object) -> Material:
    """What a classifier is trained on, from the corpus's own folder by way of its manifest."""
    table = folder / f"{name}.csv"
    write_manifest(read_corpus(name, folder / name), table)
    settings = {
        "kind": "classifier",
        "name": "official",
        "corpora": [{"name": str(table)}],
        "protocol": {"name": "official", **protocol},
        "model": {"name": "linear-svm"},
    }
    return gather(dataclass_from(ClassifierRecipe, settings, table))


def _stems(material: Material) -> list[list[str]]:
    (fold,) = material.table.folds
    return [[key.partition("/")[2] for key in getattr(fold, part)] for part in PARTS]


def test_esd(tmp_path: Path) -> None:
    layouts.esd(tmp_path / "esd")
    for emotion, part, stem in (
        ("Sad", "evaluation", "0011_001052"),
        ("Angry", "test", "0011_000351"),
    ):
        layouts.sound(tmp_path / "esd" / "0011" / emotion / part / f"{stem}.wav")
    with pytest.raises(DataError, match="speaker esd/0011 leaks"):
        _gather("esd", tmp_path)
    found = _gather("esd", tmp_path, shared_speakers=True)
    assert _stems(found) == [["0011_000002"], ["0011_001052"], ["0001_000351", "0011_000351"]]
    assert "speaker-dependent" in found.table.protocol


def test_msp_podcast(tmp_path: Path) -> None:
    home = layouts.msp_podcast(tmp_path / "msp-podcast")
    with (home / "Labels" / "labels_consensus.csv").open("a", encoding="utf-8") as table:
        table.write("MSP-PODCAST_0004_0001.wav,A,6.0,2.0,5.0,129,Male,Test1\n")
        table.write("MSP-PODCAST_0005_0001.wav,S,2.0,2.0,3.0,130,Female,Test2\n")
    for stem in ("0004_0001", "0005_0001"):
        layouts.sound(home / "Audios" / f"MSP-PODCAST_{stem}.wav")
    there = "no partition test; there are: development, test1, test2, train"
    with pytest.raises(DataError, match=there):
        _gather("msp-podcast", tmp_path)
    found = _stems(_gather("msp-podcast", tmp_path, test=["test1"]))
    assert found == [[f"MSP-PODCAST_{s}"] for s in ("0001_0008", "0003_0001", "0004_0001")]
    both = _stems(_gather("msp-podcast", tmp_path, test=["test1", "test2"]))
    assert both[2] == ["MSP-PODCAST_0004_0001", "MSP-PODCAST_0005_0001"]


def test_meld(tmp_path: Path) -> None:
    layouts.meld(tmp_path / "meld")
    found = _gather("meld", tmp_path, shared_speakers=True)
    assert _stems(found) == [[f"{part}-dia0_utt0"] for part in ("train", "dev", "test")]
    assert found.labels == ("anger", "neutral", "surprise")
