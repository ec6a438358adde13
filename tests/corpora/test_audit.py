"""What the recordings say, counts, and pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.corpora import layouts
from tests.corpora.layouts import RATE, sound

from voicetone.corpora.audit import audit, hear, hear_all, with_facts
from voicetone.corpora.figures import draw
from voicetone.corpora.manifest import Manifest
from voicetone.corpora.prepared import read_prepared
from voicetone.corpora.registry import read_corpus
from voicetone.corpora.stats import stats
from voicetone.errors import MissingExtraError
from voicetone.types import Rating, Utterance


def wav(path: Path, samples: object, rate: int = RATE) -> Path:
    soundfile.write(path, np.asarray(samples), rate)
    return path


def manifest(*paths: Path, speakers: str = "aaaaaa") -> Manifest:
    utterances = (
        Utterance(f"c/{p.name}", p, "c", f"c/{s}", emotion="anger", label_raw="anger")
        for p, s in zip(paths, speakers, strict=False)
    )
    return Manifest("c", "1", "l", "c", tuple(utterances))


def test_silent_and_clipped(tmp_path: Path) -> None:
    times = np.arange(RATE) / RATE
    sine = np.sin(2 * np.pi * 200 * times)
    assert hear(wav(tmp_path / "zero.wav", 0 * sine)).silent
    assert hear(wav(tmp_path / "hiss.wav", 5e-4 * sine)).silent
    quiet = hear(wav(tmp_path / "quiet.wav", 5e-3 * sine))
    assert (quiet.silent, quiet.clipped, quiet.duration) == (False, False, 1.0)
    assert hear(wav(tmp_path / "over.wav", np.clip(3 * sine, -1, 1))).clipped
    assert not hear(wav(tmp_path / "peaks.wav", np.where(np.arange(RATE) % 9, 0.1, 0.9999))).clipped
    stereo = np.stack([0.1 * sine, np.clip(3 * sine, -1, 1)], axis=1)
    assert hear(wav(tmp_path / "stereo.wav", stereo)).clipped


def test_problems_of_recordings(tmp_path: Path) -> None:
    good = sound(tmp_path / "good.wav", 0.5)
    silent = wav(tmp_path / "silent.wav", np.zeros(RATE))
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFFnothing")
    m = manifest(good, silent, broken, good, tmp_path / "gone.wav")
    long = replace(m.utterances[3], start=0.1, end=0.7)
    m = replace(m, utterances=(*m.utterances[:3], long, m.utterances[4]))
    heard = hear_all(m)
    assert len(heard) == 3
    found = [(p.place, p.severity, p.text) for p in audit(m, heard)]
    assert [(place, severity) for place, severity, _ in found] == [
        ("c/silent.wav", "warning"),
        ("c/broken.wav", "error"),
        ("c/good.wav", "error"),
    ]
    assert "silent.wav is silent" in found[0][2]
    assert "the segment ends at 0.7 s, good.wav at 0.5 s" in found[2][2]
    facts = with_facts(m, heard)
    assert [u.duration for u in facts] == [0.5, 1.0, None, 0.4, None]
    assert facts.utterances[0].sha256 == heard[good].sha256


def test_the_same_sound_in_another_format_is_found(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav")
    samples, rate = soundfile.read(path)
    again = wav(tmp_path / "b.flac", samples, rate)
    m = manifest(path, again, sound(tmp_path / "c.wav"), speakers="xyz")
    (problem,) = audit(m, hear_all(m))
    assert problem.place == "c/b.flac"
    assert "b.flac holds the same as a.wav (c/a.wav), but the speakers are c/x and c/y" in str(
        problem
    )
    assert m.validate() == ()  # the bytes differ


def test_a_changed_recording_is_noticed(tmp_path: Path) -> None:
    m = manifest(sound(tmp_path / "a.wav"))
    m = with_facts(m, hear_all(m))
    assert list(audit(m, hear_all(m))) == []
    sound(tmp_path / "a.wav")
    (problem,) = audit(m, hear_all(m))
    assert "not the recording that the manifest was made from" in problem.text


def test_counts(tmp_path: Path) -> None:
    m = read_corpus("msp-improv", layouts.msp_improv(tmp_path))
    counted = stats(m)
    assert counted.labels == {"(X)": 1, "anger": 1, "happiness": 1}
    assert counted.seconds is None
    assert counted.sexes == {"female": 2, "male": 1}
    assert counted.speakers["msp-improv/F01"] == {"anger": 1}
    assert counted.rated == 2
    assert -1 <= counted.agreement["fleiss_kappa"] <= 1
    assert "krippendorff_arousal" in counted.agreement
    full = stats(with_facts(m, hear_all(m)))
    assert full.seconds == pytest.approx(0.15)
    assert full.durations["median"] == 0.05
    assert full.to_dict()["agreement"]["fleiss_kappa"] == round(full.agreement["fleiss_kappa"], 4)


def test_own_ratings_are_not_counted() -> None:
    ratings = (
        Rating("E1", ("Anger",), 0.0),
        Rating("E2", ("Anger",), 0.0),
        Rating("F1", ("Happiness",), 1.0, own=True),
    )
    one = Utterance("c/a", Path("a"), "c", ratings=ratings)
    calm = tuple(replace(r, emotions=("Sad",), arousal=1.0) for r in ratings[:2])
    two = replace(one, id="c/b", ratings=calm)
    counted = stats(Manifest("c", "1", "l", "c", (one, two)))
    assert counted.agreement["fleiss_kappa"] == pytest.approx(1.0)
    assert counted.agreement["krippendorff_arousal"] == pytest.approx(1.0)


def test_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    m = read_corpus("msp-improv", layouts.msp_improv(tmp_path))
    m = with_facts(m, hear_all(m))
    drawn = draw(m, tmp_path / "figures")
    assert [p.name for p in drawn] == [
        "labels.png", "speakers.png", "durations.png", "agreement.png", "attributes.png",
    ]  # fmt: skip
    assert all(p.read_bytes().startswith(b"\x89PNG") and p.stat().st_size > 5000 for p in drawn)
    plain = read_corpus("emodb", layouts.emodb(tmp_path / "e"))
    assert [p.stem for p in draw(plain, tmp_path / "f")] == ["labels", "speakers"]
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"voicetone\[report\]"):
        draw(plain, tmp_path / "g")


@pytest.mark.realdata
def test_the_doubled_recording_of_ravdess_is_found(data_folder: Path) -> None:
    m = read_prepared("ravdess", data_folder).where(lambda u: u.speaker == "ravdess/07")
    assert len(m) == 60
    (problem,) = audit(m, hear_all(m))
    assert problem.severity == "warning"
    assert "03-01-03-01-02-02-07.flac holds the same as 03-01-03-01-02-01-07.flac" in problem.text
    (again,) = m.validate()
    assert again.text == problem.text
