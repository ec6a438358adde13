"""A tiny copy of each corpus in its real folder layout: short tones under the real names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import soundfile

RATE = 8_000
_pitch = itertools.count(100)


def sound(path: Path, seconds: float = 0.05) -> Path:
    """A recording unlike any other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * next(_pitch) * times), RATE)
    return path


def text(path: Path, words: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words, encoding=encoding, newline="")
    return path


IEMOCAP_IMPRO = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
C-E4:\tAnger; Frustration;\t(torn)
C-F1:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()
A-E4:\tval 2; act 3; dom  3;\t(mildly aggravated; val 5)
A-F1:\tval 3; act 2; dom  ;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M000\texc\t[4.0000, 3.5000, 2.0000]
C-E2:\tExcited;\t()
C-E3:\tExcited;\t()
C-E4:\tHappiness;\t()
A-E3:\tval 4; act 4; dom  2;\t()
A-E4:\tval 4; act 3; dom  2;\t()

[14.8872 - 18.0175]\tSes01F_impro01_F001\txxx\t[1.0000, 5.0000, 3.0000]
C-E2:\tAnger;\t()
C-E3:\tFrustration;\t()
C-E4:\tOther;\t(sarcastic)
"""
IEMOCAP_SCRIPT = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[1.0000 - 2.0000]\tSes02M_script01_1b_M003\tang\t[2.0000, 4.0000, 4.0000]
C-E2:\tAnger;\t()
C-E3:\tAnger;\t()
C-E4:\tNeutral state;\t()
"""


def iemocap(root: Path) -> Path:
    for session, dialog, evaluation, turns, words in (
        (1, "Ses01F_impro01", IEMOCAP_IMPRO, ("F000", "M000", "F001"), "Excuse me."),
        (2, "Ses02M_script01_1b", IEMOCAP_SCRIPT, ("M003",), "Go on, then!"),
    ):
        home = root / f"Session{session}"
        text(home / "dialog" / "EmoEvaluation" / f"{dialog}.txt", evaluation)
        text(home / "dialog" / "EmoEvaluation" / f"._{dialog}.txt", "\0Mac")
        text(home / "dialog" / "EmoEvaluation" / "Categorical" / f"{dialog}_e2_cat.txt", "")
        lines = [f"{dialog}_{turn} [006.2901-008.2357]: {words}\n" for turn in turns]
        lines.append("M: not a turn\n")
        text(home / "dialog" / "transcriptions" / f"{dialog}.txt", "".join(lines))
        for turn in turns:
            sound(home / "sentences" / "wav" / dialog / f"{dialog}_{turn}.wav")
    return root


MSP_IMPROV = """UTD-IMPROV-S01A-F01-P-FM01.avi; A; A:2.200000; V:2.000000; D:3.500000; N:3.800000;
A1-p1; Angry; Angry,Frustrated; A:2; V:2; D:4; N:4;
A2-p1; Angry; Angry; A:2; V:2; D:3; N:4;
A3-p2; Sad; Sad,Depressed; A:3; V:2; D:NaN; N:3;

UTD-IMPROV-S01A-M01-R-MF02.avi; X; A:3.000000; V:3.000000; D:NaN; N:4.000000;
A1-p1; Neutral; Neutral; A:3; V:3; D:3; N:4;
A2-p1; Other; Other; A:3; V:3; D:3; N:4;

UTD-IMPROV-S05H-F06-S-FF12.avi; H; A:1.000000; V:5.000000; D:3.000000; N:4.000000;
A1-p1; Happy; Happy; A:1; V:5; D:3; N:4;
"""


def msp_improv(root: Path) -> Path:
    text(root / "Evalution.txt", MSP_IMPROV)
    for session, name in (
        (1, "S01A-F01-P-FM01"),
        (1, "S01A-M01-R-MF02"),
        (6, "S05H-F06-S-FF12"),
    ):
        sentence, _, kind, _ = name.split("-")
        folder = root / "Audio" / f"session{session}" / sentence / kind
        sound(folder / f"MSP-IMPROV-{name}.wav")
    return root


def msp_podcast(root: Path) -> Path:
    header = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    rows = (
        "MSP-PODCAST_0001_0008.wav,N,3.4,4.0,4.0,127,Male,Train\n"
        "MSP-PODCAST_0002_0033.wav,C,7.0,1.0,5.5,Unknown,Unknown,Test2\n"
        "MSP-PODCAST_0003_0001.wav,H,4.6,5.8,4.4,128,Female,Development\n"
    )
    detail = (
        "FileName,EmoDetail\n"
        'MSP-PODCAST_0001_0008.wav,"WORKER00000001; Neutral; Neutral,Concerned; '
        'A:4.0; V:4.0; D:4.0;"\n'
        'MSP-PODCAST_0001_0008.wav,"WORKER00000002; Other-Curious; ; A:3.0; V:4.0; D:4.0;"\n'
        'MSP-PODCAST_0003_0001.wav,"WORKER00000002; Happy; Happy,Amused; A:5.0; V:6.0; D:4.0;"\n'
    )
    text(root / "Labels" / "labels_consensus.csv", header + rows)
    text(root / "Labels" / "labels_detailed.csv", detail)
    text(root / "Transcripts" / "MSP-PODCAST_0001_0008.txt", "so what\n do we do\n")
    for stem in ("0001_0008", "0002_0033", "0003_0001"):
        sound(root / "Audios" / f"MSP-PODCAST_{stem}.wav")
    return root


def ravdess(root: Path) -> Path:
    for actor, name in (("01", "03-01-03-01-01-02-01"), ("02", "03-01-08-02-02-01-02"),
                        ("02", "03-02-05-02-02-01-02")):  # fmt: skip
        sound(root / "Audio_Speech_Actors_01-24" / f"Actor_{actor}" / f"{name}.wav")
    return root


CREMAD_VOTES = """"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"
"100001",0,0,0,1,10,0,"1001_IEO_NEU_XX",11,0.909,"N"
"100002",4,4,0,0,2,0,"1002_DFA_ANG_HI",10,0.4,"A:D"
"200001",0,0,0,10,1,0,"1001_IEO_NEU_XX",11,0.909,"H"
"300001",0,0,0,10,1,0,"1001_IEO_NEU_XX",11,0.909,"H"
"""
CREMAD_PEOPLE = """"ActorID","Age","Sex","Race","Ethnicity"
1001,51,"Male","Caucasian","Not Hispanic"
1002,21,"Female","Asian","Not Hispanic"
"""


def cremad(root: Path) -> Path:
    text(root / "processedResults" / "tabulatedVotes.csv", CREMAD_VOTES)
    text(root / "VideoDemographics.csv", CREMAD_PEOPLE)
    for stem in ("1001_IEO_NEU_XX", "1002_DFA_ANG_HI"):
        sound(root / "AudioWAV" / f"{stem}.wav")
    return root


def emodb(root: Path) -> Path:
    for stem in ("03a01Fa", "16b10Lb", "08a07Wc"):
        sound(root / "wav" / f"{stem}.wav")
    text(root / "labsilb" / "03a01Fa.lab", "")
    return root


def savee(root: Path) -> Path:
    for name in ("DC/a01", "DC/sa02", "KL/su15"):
        sound(root / "AudioData" / f"{name}.wav")
    return root


def tess(root: Path) -> Path:
    home = root / "TESS Toronto emotional speech set data"
    for name in (
        "OAF_angry/OAF_back_angry",
        "OAF_neutral/OA_bite_neutral",
        "YAF_pleasant_surprised/YAF_youth_ps",
    ):
        sound(home / f"{name}.wav")
    return root


NEMO = (
    "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
    "WR0_surprised_64.wav\tsurprised\tUcho wykrywa.\tucho wykrywa\t        WR0\tmale\t23\n"
    'EB0_anger_1.wav\tanger\t„Ród" smoka.\t„ród smoka\t        EB0\tfemale\t27\n'
)


def nemo(root: Path) -> Path:
    text(root / "data.tsv", NEMO)
    for stem in ("WR0_surprised_64", "EB0_anger_1"):
        sound(root / "samples" / f"{stem}.wav")
    return root


MELD_HEAD = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,"
    "Season,Episode,StartTime,EndTime\n"
)
MELD = {
    "train": '1,"Oh, my God!",Monica,surprise,positive,0,0,8,21,"00:16:16,059","00:16:21,731"\n'
    "2,Broken.,Ross,joy,positive,125,3,8,21,,\n",
    "dev": "1,No.,A Waiter,neutral,neutral,0,0,8,21,,\n",
    "test": "1,Go away!,Joey,anger,negative,0,0,8,21,,\n",
}
MELD_FOLDERS = {
    "train": "train/train_splits",
    "dev": "dev/dev_splits_complete",
    "test": "output_repeated_splits_test",
}


def meld(root: Path) -> Path:
    for part, rows in MELD.items():
        text(root / f"{part}_sent_emo.csv", MELD_HEAD + rows, "utf-8-sig")
        sound(root / MELD_FOLDERS[part] / "dia0_utt0.wav")
    sound(root / MELD_FOLDERS["test"] / "final_videos_testdia101_utt0.wav")
    return root


def esd(root: Path) -> Path:
    text(root / "0001" / "0001.txt", "0001_000351\t打远一看。\t生气\n", "gb18030")
    text(root / "0011" / "0011.txt", "0011_000002\tClear than clear water!\tNeutral\n", "utf-16")
    sound(root / "0001" / "Angry" / "test" / "0001_000351.wav")
    sound(root / "0011" / "Neutral" / "train" / "0011_000002.wav")
    sound(root / "0012" / "Surprise" / "0012_001402.wav")
    return root


MAKERS: Mapping[str, Callable[[Path], Path]] = {
    "cremad": cremad,
    "emodb": emodb,
    "esd": esd,
    "iemocap": iemocap,
    "meld": meld,
    "msp-improv": msp_improv,
    "msp-podcast": msp_podcast,
    "nemo": nemo,
    "ravdess": ravdess,
    "savee": savee,
    "tess": tess,
}
