"""What recipes take from manifests: votes, labels, speakers, recordings, and what is left out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voicetone.errors import DataError
from voicetone.evaluation.table import PredictionTable
from voicetone.training.classifier_data import Material, gather
from voicetone.training.classifier_recipe import ClassifierRecipe
from voicetone.training.classifier_run import cautions, resolved
from voicetone.training.recipe import dataclass_from

RATE = 16_000
SPEAKERS = ("anna", "ben", "carl")
EMOTIONS = ("anger", "happiness", "neutral")
Rows = list[dict[str, str]]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICETONE_CACHE", str(tmp_path / "cache"))


def _sound(path: Path, seed: int, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 0.1, round(RATE * seconds))
    soundfile.write(path, noise.astype(np.float32), RATE, subtype="PCM_16")


def _rows(folder: Path, each: int = 1, **more: str) -> Rows:
    """Utterances of every speaker and emotion, each with a recording of its own."""
    found = []
    for speaker in SPEAKERS:
        for emotion in EMOTIONS:
            for take in range(each):
                name = f"audio/{speaker}-{emotion}-{take}.wav"
                _sound(folder / name, len(found))
                found.append({"file": name, "speaker": speaker, "emotion": emotion, **more})
    return found


def _table(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        names = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _recipe(*tables: Path | dict[str, object], **settings: object) -> ClassifierRecipe:
    data = {
        "kind": "classifier",
        "name": "toy",
        "corpora": [{"name": str(t)} if isinstance(t, Path) else t for t in tables],
        "protocol": {"name": "speakers"},
        "model": {"name": "linear-svm"},
        **settings,
    }
    return dataclass_from(ClassifierRecipe, data, Path("toy.toml"))


def _votes(material: Material) -> dict[str, dict[str, float]]:
    rows = np.arange(len(material.utterances))
    scores = np.zeros((len(rows), len(material.labels)))
    table: PredictionTable = material.predictions(rows, scores, "f", 0, {}, probabilities=False)
    assert table.votes is not None
    return {
        str(key): {name: float(v) for name, v in zip(table.labels, row, strict=True) if v}
        for key, row in zip(table.id, table.votes, strict=True)
    }


VOTES = '{"anger": 7, "neutral": 2, "contempt": 1}'


def test_votes_for_words_become_votes_for_the_classes_of_a_rule(tmp_path: Path) -> None:
    path = _table(tmp_path / "m.csv", _rows(tmp_path, votes=VOTES))
    material = gather(_recipe(path, rule="sentiment"))
    votes = _votes(material)["m/anna-anger-0"]
    assert votes["negative"] / votes["neutral"] == pytest.approx(7 / 2)
    assert set(votes) == {"negative", "neutral"}
    assert "9 of 90 votes of raters are for none of the classes" in material.notes[0]
    assert _votes(gather(_recipe(path)))["m/anna-anger-0"].keys() == {"anger", "neutral"}
    by_sentiment = _votes(gather(_recipe(path, target="sentiment")))["m/anna-anger-0"]
    assert by_sentiment.keys() == {"negative", "neutral"}


def test_votes_that_say_no_class_are_dropped(tmp_path: Path) -> None:
    rows = _rows(tmp_path, votes=VOTES)
    for row in rows:
        row["valence"] = "0.1" if row["emotion"] == "anger" else "0.9"
    material = gather(_recipe(_table(tmp_path / "m.csv", rows), rule="valence-le2-ge4"))
    assert all(u.votes is None for u in material.utterances)


def _labelled(folder: Path, typo: str, rule: str) -> Path:
    rows = _rows(folder, 5, label_rule=rule)
    levels = {"anger": "high", "happiness": "high", "neutral": "mid"}
    for row in rows:
        row["label"] = levels[row["emotion"]]
    rows[-1]["label"] = typo
    return _table(folder / "lab.csv", rows)


@pytest.mark.parametrize("rule", ["activation", "a rule of my own", ""])
def test_a_misspelt_class_is_named_by_line(tmp_path: Path, rule: str) -> None:
    path = _labelled(tmp_path, "midd", rule)
    with pytest.raises(DataError, match=r"lab\.csv:46: .*'midd'.* did you mean 'mid'\?"):
        gather(_recipe(path, target="label"))


def test_a_rare_class_may_be_wanted(tmp_path: Path) -> None:
    path = _labelled(tmp_path, "midd", "a rule of my own")
    wanted = {"name": str(path), "labels": ["high", "mid", "midd"]}
    assert gather(_recipe(wanted, target="label")).labels == ("high", "mid", "midd")
    path = _labelled(tmp_path, "unknown", "a rule of my own")
    assert "unknown" in gather(_recipe(path, target="label")).labels


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    rows = _rows(tmp_path, 2)
    rows[0]["emotion"] = "contempt"
    material = gather(_recipe(_table(tmp_path / "m.csv", rows)))
    assert material.notes == ("1 of 18 utterances of m are left out: no emotion (contempt: 1)",)
    for row in rows:
        row["partition"] = "test" if row["speaker"] == "ben" else "train"
    rows[3]["partition"] = "tain"
    recipe = _recipe(_table(tmp_path / "m.csv", rows), protocol={"name": "official"})
    assert gather(recipe).notes[1] == (
        "1 of 17 utterances of m are left out: in no part of any fold (partition tain: 1)"
    )


def _sides(folder: Path, **protocol: object) -> ClassifierRecipe:
    rows = _rows(folder, 2)
    tables = [_table(folder / f"{name}.csv", rows[i::2]) for i, name in enumerate(("tr", "te"))]
    sides = [
        {"name": str(path), "side": side}
        for path, side in zip(tables, ("train", "test"), strict=True)
    ]
    return _recipe(*sides, protocol={"name": "across", "validation": 0, **protocol})


def test_the_same_speakers_in_train_csv_and_test_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"te\.csv:2 .*a speaker anna is in test .*other_people"):
        gather(_sides(tmp_path))
    (note,) = gather(_sides(tmp_path, other_people=True)).notes
    assert note.endswith("3 (anna, ben, carl); taken for other people")


def test_the_same_speaker_in_two_merged_tables(tmp_path: Path) -> None:
    rows = _rows(tmp_path, 2)
    one = _table(tmp_path / "one.csv", rows[0::2])
    moved = [{**row, "speaker": row["speaker"].replace("anna", "dora")} for row in rows[1::2]]
    with pytest.raises(DataError, match=r"two\.csv:8 .*a speaker carl is in validation "):
        gather(_recipe(one, _table(tmp_path / "two.csv", moved)))


def test_one_recording_in_another_format_or_cut_a_little_is_found(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    samples, rate = soundfile.read(tmp_path / rows[0]["file"])
    soundfile.write(tmp_path / "copy.flac", samples, rate, subtype="PCM_16")
    path = tmp_path / "m.csv"
    _table(path, [*rows, {**rows[-1], "file": "copy.flac"}])
    with pytest.raises(DataError, match=r"m\.csv:(2|11) .*the same recording as .*m\.csv:(11|2)"):
        gather(_recipe(path))
    _table(path, [*rows, {**rows[-1], "file": rows[0]["file"], "start": "0.01"}])
    with pytest.raises(DataError, match=r"m\.csv:(2|11) .*the same recording as .*m\.csv:(11|2)"):
        gather(_recipe(path))


def test_broken_and_empty_recordings_are_named_by_line(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    (tmp_path / rows[2]["file"]).write_bytes(b"RIFF and nothing")
    rows[4] |= {"start": "5.0"}
    with pytest.raises(DataError, match=r"m\.csv:4: .*m\.csv:6: .*holds nothing there"):
        gather(_recipe(_table(tmp_path / "m.csv", rows)))


def test_other_audio_other_speakers_and_other_labels_are_another_run(tmp_path: Path) -> None:
    rows = _rows(tmp_path, 2)
    path = tmp_path / "m.csv"

    def found() -> str:
        recipe = _recipe(_table(path, rows))
        return str(resolved(recipe, gather(recipe))["labelled_data"])

    seen = [found()]
    assert found() == seen[0]
    soundfile.write(
        (tmp_path / rows[0]["file"]).with_suffix(".flac"),
        *soundfile.read(tmp_path / rows[0]["file"]),
    )
    rows[0]["file"] = rows[0]["file"].replace(".wav", ".flac")
    assert found() == seen[0]  # the same sound
    _sound(tmp_path / rows[1]["file"], 99)
    seen.append(found())
    rows[1]["speaker"], rows[7]["speaker"] = rows[7]["speaker"], rows[1]["speaker"]
    seen.append(found())
    rows[2]["emotion"] = "anger"
    seen.append(found())
    assert len(set(seen)) == 4


def test_what_validates_is_learnt_in_the_end(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    for row in rows:
        row["transcript"] = "B" if row["speaker"] == "carl" else "A"
    recipe = _recipe(_table(tmp_path / "m.csv", rows))  # ben validates for anna
    assert gather(recipe).overlap.share == pytest.approx(1 / 3)
    assert gather(recipe, refit=True).overlap.share == pytest.approx(2 / 3)


def test_classes_that_were_cut_are_told(tmp_path: Path) -> None:
    rows = _rows(tmp_path, 4)
    path = _table(tmp_path / "m.csv", rows)
    for number, row in enumerate(rows):
        longer = 0.01 * number if row["emotion"] != "anger" else 0.0
        _sound(tmp_path / row["file"], number, 0.1 + longer)
    recipe = _recipe(path)
    (caution,) = cautions(recipe, gather(recipe))
    assert "of anger many recordings end at 0.1 s and none is longer" in caution
    assert "features.cut_seconds = 0.1" in caution
    cut = _recipe(path, features={"cut_seconds": 0.1})
    assert cautions(cut, gather(cut)) == []


def test_labels_of_a_machine_are_told(tmp_path: Path) -> None:
    """Also those of sentiments that follow from a machine's emotions."""
    told = {"emotion_source": "tone-small 1.0.0", "emotion_confidence": "0.9"}
    path = _table(tmp_path / "m.csv", _rows(tmp_path, extra=json.dumps(told)))
    for target in ("emotion", "sentiment"):
        notes = gather(_recipe(path, target=target)).notes
        (note,) = (n for n in notes if "from a machine" in n)
        assert f"have their {target} from a machine (tone-small 1.0.0)" in note
    assert not any("machine" in n for n in gather(_recipe(_people(tmp_path))).notes)


def _people(folder: Path) -> Path:
    return _table(folder / "people.csv", _rows(folder))
