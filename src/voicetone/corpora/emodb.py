"""EMO-DB, the Berlin Database of Emotional Speech: `wav/03a01Fa.wav`."""

from __future__ import annotations

from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import named, utterance
from voicetone.types import Utterance

LETTERS = {
    "W": ("anger", "anger"),
    "L": ("boredom", "boredom"),
    "E": ("disgust", "disgust"),
    "A": ("fear", "fear"),
    "F": ("happiness", "happiness"),
    "T": ("sadness", "sadness"),
    "N": ("neutral", "neutral"),
}  # of the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer
SPEAKERS = {
    "03": ("male", 31), "08": ("female", 34), "09": ("female", 21), "10": ("male", 32),
    "11": ("male", 26), "12": ("male", 30), "13": ("female", 32), "14": ("female", 35),
    "15": ("male", 25), "16": ("female", 31),
}  # fmt: skip
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
NAME = rf"({'|'.join(SPEAKERS)})({'|'.join(SENTENCES)})([{''.join(LETTERS)}])([a-z])"


def read(folder: Path) -> list[Utterance]:
    """Speaker, sentence, emotion and version stand in the file's name."""
    found = []
    for path, match in named(folder, NAME, "03a01Fa.wav", CORPUS.title):
        speaker, sentence, letter, version = match.groups()
        raw, emotion = LETTERS[letter]
        sex, age = SPEAKERS[speaker]
        found.append(
            utterance(
                "emodb", path, speaker, raw, emotion, sex=sex, age=float(age), language="de",
                sentence=sentence, transcript=SENTENCES[sentence], extra={"version": version},
            )
        )  # fmt: skip
    return found


CORPUS = Corpus(
    name="emodb",
    title="EMO-DB",
    licence="CC0 or CC BY 4.0 by later listings; published as freely usable",
    citation="Burkhardt et al., A Database of German Emotional Speech, Interspeech 2005",
    labels=dict(LETTERS.values()),
    releases=(
        Release(
            "1.3", 535, 10,
            {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71,
             "neutral": 79, "sadness": 62},
        ),
    ),
    read=read,
)  # fmt: skip
