"""ESD, Mandarin and English: `0011/Angry/train/0011_000351.wav` and `0011/0011.txt`."""

from __future__ import annotations

from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import named, text_of, utterance
from voicetone.errors import DataError
from voicetone.types import Utterance

WORDS = {
    "Angry": "anger",
    "Happy": "happiness",
    "Neutral": "neutral",
    "Sad": "sadness",
    "Surprise": "surprise",
}
PARTITIONS = ("train", "evaluation", "test")
WOMEN = frozenset("0001 0002 0003 0007 0009 0015 0016 0017 0018 0019".split())  # noqa: SIM905
MANDARIN = 10  # speakers 1 to 10; the others speak English
SENTENCES = 350  # each speaker says them once in each emotion
NAME = r"(00(?:0[1-9]|1\d|20))_(\d{6})"


def read(folder: Path) -> list[Utterance]:
    """Emotion and partition are folders; older copies lack the partitions."""
    found = []
    texts: dict[Path, dict[str, str]] = {}
    for path, match in named(folder, NAME, "0011_000351.wav", CORPUS.title):
        speaker, number = match.groups()
        parents = [p.name for p in path.parents[:2]]
        partition = parents[0] if parents[0] in PARTITIONS else None
        raw = parents[1] if partition else parents[0]
        if raw not in WORDS:
            raise DataError(
                f"{path}: its folder is none of {', '.join(WORDS)}; keep the layout of the release"
            )
        home = path.parents[2 if partition else 1]
        if home not in texts:
            texts[home] = _texts(home / f"{home.name}.txt")
        language = "zh" if int(speaker) <= MANDARIN else "en"
        found.append(
            utterance(
                "esd", path, speaker, raw, WORDS[raw], language=language,
                sex="female" if speaker in WOMEN else "male", partition=partition,
                sentence=f"{language}-{(int(number) - 1) % SENTENCES + 1}",
                transcript=texts[home].get(path.stem),
            )
        )  # fmt: skip
    return found


def _texts(table: Path) -> dict[str, str]:
    """Name → words. Each line: name, words and emotion, between tabs."""
    if not table.is_file():
        return {}
    lines = [line.split("\t") for line in text_of(table).splitlines()]
    return {parts[0].strip(): parts[1].strip() for parts in lines if len(parts) > 1}


CORPUS = Corpus(
    name="esd",
    title="ESD",
    licence="research use, by signed licence",
    citation="Zhou et al., Emotional voice conversion: Theory, databases and ESD, "
    "Speech Communication 137, 2022",
    labels=WORDS,
    releases=(Release("1.0", 35_000, 20, dict.fromkeys(WORDS, 7000)),),
    read=read,
)
