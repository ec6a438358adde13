"""What each reader takes from names and tables, and the real tables and names there are."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.corpora import layouts
from tests.corpora.layouts import MAKERS, sound, text

from voicetone.corpora.layout import table_rows
from voicetone.corpora.prepared import read_prepared
from voicetone.corpora.registry import CORPORA, read_corpus
from voicetone.errors import DataError
from voicetone.types import Rating, Utterance


def made(name: str, root: Path) -> dict[str, Utterance]:
    """The tiny copy's utterances by id without the corpus."""
    return {u.id.partition("/")[2]: u for u in read_corpus(name, MAKERS[name](root))}


def test_iemocap_keeps_every_rater(tmp_path: Path) -> None:
    found = made("iemocap", tmp_path)
    u = found["Ses01F_impro01_F000"]
    assert (u.speaker, u.sex, u.session, u.emotion) == ("iemocap/Ses01F", "female", "1", "neutral")
    assert (u.valence, u.arousal, u.dominance) == (0.375, 0.375, 0.375)
    assert u.transcript == "Excuse me."
    assert u.duration == 1.9456
    assert u.votes == {"anger": 0.5, "frustration": 0.5, "neutral": 2.0}
    assert u.ratings == (
        Rating("E2", ("Neutral",)),
        Rating("E3", ("Neutral",), 0.25, 0.5, 0.25),
        Rating("E4", ("Anger", "Frustration"), 0.5, 0.25, 0.5),
        Rating("F1", ("Neutral",), 0.25, 0.5, None, own=True),
    )
    assert u.sentence is None
    assert u.extra["kind"] == "improvised"
    other = found["Ses01F_impro01_M000"]
    assert (other.speaker, other.emotion, other.label_raw) == ("iemocap/Ses01M", None, "exc")
    assert other.votes == {"excitement": 2.0, "happiness": 1.0}
    assert found["Ses01F_impro01_F001"].label_raw == "xxx"
    assert found["Ses01F_impro01_F001"].arousal == 1.0
    script = found["Ses02M_script01_1b_M003"]
    assert (script.speaker, script.session) == ("iemocap/Ses02M", "2")
    assert script.sentence == "go on then"
    assert script.votes == {"anger": 2.0, "neutral": 1.0}


def test_iemocap_may_lie_one_folder_deeper(tmp_path: Path) -> None:
    layouts.iemocap(tmp_path / "IEMOCAP_full_release")
    assert len(read_corpus("iemocap", tmp_path)) == 4


def test_iemocap_names_a_strange_label(tmp_path: Path) -> None:
    layouts.iemocap(tmp_path)
    path = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    text(path, layouts.IEMOCAP_IMPRO.replace("\tneu\t", "\tnew\t"))
    with pytest.raises(DataError, match=r"Ses01F_impro01\.txt:3: unknown label 'new'"):
        read_corpus("iemocap", tmp_path)


def test_msp_improv(tmp_path: Path) -> None:
    found = made("msp-improv", tmp_path)
    u = found["MSP-IMPROV-S01A-F01-P-FM01"]
    assert (u.speaker, u.session, u.sex) == ("msp-improv/F01", "1", "female")
    assert (u.emotion, u.label_raw) == ("anger", "A")
    assert u.arousal == pytest.approx(0.3)
    assert u.valence == 0.25
    assert u.votes == {"anger": 2.0, "sadness": 1.0}
    assert u.ratings[0] == Rating("A1-p1", ("Angry", "Frustrated"), 0.25, 0.25, 0.75)
    assert u.ratings[2].dominance is None
    assert u.extra == {"kind": "natural", "wanted": "anger"}
    assert u.sentence is None
    none = found["MSP-IMPROV-S01A-M01-R-MF02"]
    assert (none.emotion, none.dominance, none.sentence) == (None, None, "S01")
    assert none.votes == {"neutral": 1.0, "other": 1.0}
    assert found["MSP-IMPROV-S05H-F06-S-FF12"].session == "6"


def test_msp_podcast(tmp_path: Path) -> None:
    found = made("msp-podcast", tmp_path)
    u = found["MSP-PODCAST_0001_0008"]
    assert (u.speaker, u.sex, u.partition) == ("msp-podcast/127", "male", "train")
    assert u.arousal == pytest.approx(0.4)
    assert u.valence == 0.5
    assert u.transcript == "so what do we do"
    assert u.votes == {"neutral": 1.0, "other": 1.0}
    assert [r.emotions for r in u.ratings] == [("Neutral", "Concerned"), ("Other-Curious",)]
    none = found["MSP-PODCAST_0002_0033"]
    assert (none.speaker, none.sex, none.emotion, none.label_raw) == (None, None, None, "C")
    assert (none.partition, none.votes, none.arousal, none.valence) == ("test2", None, 1.0, 0.0)


def test_msp_podcast_with_raters_in_columns(tmp_path: Path) -> None:
    layouts.msp_podcast(tmp_path)
    text(
        tmp_path / "Labels" / "labels_detailed.csv",
        "FileName,Workers,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom\n"
        'MSP-PODCAST_0003_0001.wav,WORKER1,Happy,"Happy,Amused",5.0,6.0,4.0\n',
    )
    last = read_corpus("msp-podcast", tmp_path).utterances[-1]
    assert last.ratings == (
        Rating("WORKER1", ("Happy", "Amused"), pytest.approx(2 / 3), pytest.approx(5 / 6), 0.5),
    )


def test_ravdess(tmp_path: Path) -> None:
    found = made("ravdess", tmp_path)
    assert sorted(found) == ["03-01-03-01-01-02-01", "03-01-08-02-02-01-02"]  # no song
    u = found["03-01-08-02-02-01-02"]
    assert (u.speaker, u.sex, u.emotion) == ("ravdess/02", "female", "surprise")
    assert (u.label_raw, u.sentiment) == ("surprised", None)
    assert u.transcript == "Dogs are sitting by the door."
    assert u.extra == {"intensity": "strong", "repetition": "01"}


def test_cremad(tmp_path: Path) -> None:
    found = made("cremad", tmp_path)
    u = found["1001_IEO_NEU_XX"]
    assert (u.speaker, u.sex, u.age, u.race) == ("cremad/1001", "male", 51.0, "Caucasian")
    assert (u.emotion, u.extra["perceived"]) == ("neutral", "neutral")
    assert u.votes == {
        "anger": 0, "disgust": 0, "fear": 0, "happiness": 1, "neutral": 10, "sadness": 0,
    }  # fmt: skip
    assert u.transcript == "It's eleven o'clock."
    tied = found["1002_DFA_ANG_HI"]
    assert (tied.emotion, tied.extra["perceived"]) == ("anger", "anger:disgust")
    assert (tied.extra["level"], tied.extra["ethnicity"]) == ("high", "Not Hispanic")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"1001_IEO_NEU_XX"', '"1003_IEO_NEU_XX"', "no votes on it in tabulatedVotes.csv"),
        ('"emoVote"\n"100001",0', '"emoVote"\n"100001",x', r"tabulatedVotes\.csv:2: a vote is no"),
        ('"fileName"', '"clip"', r"tabulatedVotes\.csv:1: no column 'fileName'"),
        ('"100002",4,4,0,0,2,0,"1002_DFA_ANG_HI",10,0.4,"A:D"', '"100002",4', "ends early"),
    ],
)
def test_cremad_names_what_is_wrong(tmp_path: Path, old: str, new: str, said: str) -> None:
    layouts.cremad(tmp_path)
    assert old in layouts.CREMAD_VOTES
    table = tmp_path / "processedResults" / "tabulatedVotes.csv"
    text(table, layouts.CREMAD_VOTES.replace(old, new))
    with pytest.raises(DataError, match=said):
        read_corpus("cremad", tmp_path)


def test_cremad_needs_every_actor(tmp_path: Path) -> None:
    layouts.cremad(tmp_path)
    text(tmp_path / "VideoDemographics.csv", layouts.CREMAD_PEOPLE.replace("1002", "1003"))
    with pytest.raises(DataError, match="actor 1002 is not in VideoDemographics"):
        read_corpus("cremad", tmp_path)


def test_emodb(tmp_path: Path) -> None:
    found = made("emodb", tmp_path)
    u = found["16b10Lb"]
    assert (u.speaker, u.sex, u.age) == ("emodb/16", "female", 31.0)
    assert (u.emotion, u.sentence, u.extra) == ("boredom", "b10", {"version": "b"})
    assert u.sentiment is None


def test_savee(tmp_path: Path) -> None:
    found = made("savee", tmp_path)
    assert sorted(found) == ["DC_a01", "DC_sa02", "KL_su15"]
    assert found["DC_sa02"].emotion == "sadness"
    assert found["KL_su15"].speaker == "savee/KL"
    flat = tmp_path / "flat"
    for name in found:
        sound(flat / f"{name}.wav")
    again = read_corpus("savee", flat)
    assert [replace(u, audio=Path()) for u in again] == [
        replace(u, audio=Path()) for u in found.values()
    ]
    sound(flat / "x" / "a01.wav")
    with pytest.raises(DataError, match="not a name of SAVEE"):
        read_corpus("savee", flat)


def test_tess(tmp_path: Path) -> None:
    found = made("tess", tmp_path)
    assert found["OA_bite_neutral"].speaker == "tess/OAF"
    u = found["YAF_youth_ps"]
    assert (u.speaker, u.age, u.emotion) == ("tess/YAF", 26.0, "surprise")
    assert (u.sentence, u.transcript) == ("youth", "Say the word youth.")


def test_nemo(tmp_path: Path) -> None:
    found = made("nemo", tmp_path)
    u = found["EB0_anger_1"]
    assert (u.speaker, u.sex, u.age, u.sentence) == ("nemo/EB0", "female", 27.0, "1")
    assert u.transcript == '„Ród" smoka.'  # a quotation mark is part of the text
    text(tmp_path / "data.tsv", layouts.NEMO.replace("\tanger\t", "\tangr\t"))
    with pytest.raises(DataError, match=r"data\.tsv:3: unknown label 'angr'"):
        read_corpus("nemo", tmp_path)


def test_meld(tmp_path: Path) -> None:
    found = made("meld", tmp_path)
    assert sorted(found) == ["dev-dia0_utt0", "test-dia0_utt0", "train-dia0_utt0"]
    u = found["train-dia0_utt0"]
    assert (u.speaker, u.sex, u.partition) == ("meld/Monica", "female", "train")
    assert (u.emotion, u.sentiment) == ("surprise", "positive")  # MELD's own
    assert u.transcript == "Oh, my God!"
    assert u.audio.parts[-3:-1] == ("train", "train_splits")
    assert found["dev-dia0_utt0"].speaker == "meld/A Waiter"
    text(
        tmp_path / "dev_sent_emo.csv",
        layouts.MELD_HEAD + layouts.MELD["dev"].replace("neutral,neutral", "neutral,fine"),
    )
    with pytest.raises(DataError, match=r"dev_sent_emo\.csv:2: unknown label 'neutral' or 'fine'"):
        read_corpus("meld", tmp_path)


def test_esd(tmp_path: Path) -> None:
    found = made("esd", tmp_path)
    zh, en, old = (found[k] for k in ("0001_000351", "0011_000002", "0012_001402"))
    assert (zh.language, zh.emotion, zh.partition) == ("zh", "anger", "test")
    assert (zh.transcript, zh.sentence) == ("打远一看。", "zh-1")
    assert (en.transcript, en.sentence, en.sex) == ("Clear than clear water!", "en-2", "male")
    assert (old.partition, old.transcript, old.sentence) == (None, None, "en-2")
    sound(tmp_path / "0013" / "Fine" / "0013_000001.wav")
    with pytest.raises(DataError, match="its folder is none of Angry"):
        read_corpus("esd", tmp_path)


@pytest.mark.realdata
def test_the_real_tables_of_cremad(data_folder: Path, tmp_path: Path) -> None:
    tables = data_folder / "cremad_tables"
    for name in ("tabulatedVotes.csv", "VideoDemographics.csv"):
        (tmp_path / name).symlink_to(tables / name)
    (tmp_path / "AudioWAV").mkdir()
    with (tables / "audio_sha256.csv").open() as handle:
        for row in csv.DictReader(handle):
            (tmp_path / "AudioWAV" / row["file"]).touch()
    manifest = read_corpus("cremad", tmp_path)
    assert manifest.version == "1.0"
    assert list(CORPORA["cremad"].closest(manifest).differences(manifest)) == []
    with (tables / "summaryTable.csv").open() as handle:
        majority = {row["FileName"]: row["VoiceVote"] for row in csv.DictReader(handle)}
    letters = {
        "A": "anger", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral",
        "S": "sadness",
    }  # fmt: skip
    for u in manifest:
        expected = {letters[x] for x in majority[u.audio.stem].split(":")}
        assert set(u.extra["perceived"].split(":")) == expected
    with (tables / "sentences.csv").open() as handle:
        sentences = {row["code"]: row["sentence"] for row in csv.DictReader(handle)}
    assert {u.sentence: u.transcript for u in manifest} == sentences
    # Humans from the voice alone: 40.7 % UAR per rating.
    recalls = []
    for emotion in letters.values():
        votes = [u.votes for u in manifest if u.emotion == emotion and u.votes]
        hits = sum(v[emotion] for v in votes)
        recalls.append(hits / sum(sum(v.values()) for v in votes))
    assert sum(recalls) / len(recalls) == pytest.approx(0.407, abs=0.001)
    assert Counter(u.sex for u in manifest)["male"] > 3000


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["emodb", "ravdess"])
def test_names_say_what_the_prepared_tables_say(data_folder: Path, name: str) -> None:
    """EMO-DB's and RAVDESS's own file names, against tables made independently."""
    prepared = {u.audio: u for u in read_prepared(name, data_folder)}
    found = read_corpus(name, data_folder / name)
    assert {u.audio for u in found} == prepared.keys()
    for u in found:
        p = prepared[u.audio]
        for column in ("id", "speaker", "emotion", "sex", "sentence", "transcript", "language"):
            assert getattr(u, column) == getattr(p, column), (u.id, column)
        assert name == "ravdess" or u.age == p.age
    if name == "emodb":
        assert found.version == "1.3"
    else:
        differences = list(CORPORA[name].closest(found).differences(found))
        assert differences[:2] == [
            "960 utterances instead of 1,440",
            "16 speakers instead of 24",
        ]


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\x0b", "\x1c"])
def test_cells_may_hold_what_ends_lines_elsewhere(tmp_path: Path, character: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"a,b\r\nOh my{character}God,1\r\nyes,2\r\n", encoding="utf-8", newline="")
    assert list(table_rows(table, ("a", "b"))) == [
        (2, {"a": f"Oh my{character}God", "b": "1"}),
        (3, {"a": "yes", "b": "2"}),
    ]
