"""What holds for every reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.corpora.layouts import MAKERS, sound, text

from voicetone.corpora.corpus import Corpus
from voicetone.corpora.registry import CORPORA, read_corpus
from voicetone.corpora.tables import read_manifest, write_manifest
from voicetone.errors import DataError, UsageError
from voicetone.types import EMOTION_TO_SENTIMENT, EMOTIONS, SENTIMENTS

NAMES = sorted(CORPORA)
# Files that decide: without any one of them, a reader of tables must complain.
BY_TABLE = ("cremad", "iemocap", "meld", "msp-improv", "msp-podcast", "nemo")


@pytest.fixture(params=NAMES)
def corpus(request: pytest.FixtureRequest) -> Corpus:
    return CORPORA[request.param]


@pytest.fixture
def folder(corpus: Corpus, tmp_path: Path) -> Path:
    return MAKERS[corpus.name](tmp_path / "copy")


def test_every_reader_has_a_layout_and_a_page(root: Path) -> None:
    assert sorted(MAKERS) == NAMES
    for name in NAMES:
        assert (root / "docs" / "corpora" / f"{name}.md").is_file(), name


def test_records(corpus: Corpus, folder: Path) -> None:
    manifest = read_corpus(corpus.name, folder)
    assert manifest.corpus == corpus.name
    assert len(manifest) >= 2
    ids = [u.id for u in manifest]
    assert len(set(ids)) == len(ids)
    for u in manifest:
        assert u.corpus == corpus.name
        assert u.id.startswith(f"{corpus.name}/")
        assert u.audio.is_file()
        assert u.audio.is_relative_to(folder)
        assert u.speaker is None or u.speaker.startswith(f"{corpus.name}/")
        assert u.label_raw in corpus.labels
        assert u.emotion == corpus.labels[u.label_raw]
        assert u.sentiment in (None, *SENTIMENTS)
        if u.emotion in EMOTION_TO_SENTIMENT:
            assert u.sentiment == EMOTION_TO_SENTIMENT[u.emotion]
        assert u.language
        assert (u.start, u.end, u.channel) == (0.0, None, None)
        assert u.sex in (None, "female", "male")


def test_nothing_is_wrong_with_it(corpus: Corpus, folder: Path) -> None:
    assert [p for p in read_corpus(corpus.name, folder).validate() if p.severity == "error"] == []


def test_reading_twice_gives_the_same(corpus: Corpus, folder: Path) -> None:
    first = read_corpus(corpus.name, folder)
    assert read_corpus(corpus.name, folder) == first


def test_junk_in_the_folder_changes_nothing(corpus: Corpus, folder: Path) -> None:
    before = read_corpus(corpus.name, folder)
    for u in before:
        text(u.audio.with_name(f"._{u.audio.name}"), "Mac")
        text(u.audio.with_name("notes.txt"), "by hand")
    text(folder / ".DS_Store", "")
    text(folder / "__MACOSX" / "readme.pdf", "")
    sound(folder / ".cache" / "x.wav")
    assert read_corpus(corpus.name, folder) == before


def test_relative_and_absolute_folders(
    corpus: Corpus, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = read_corpus(corpus.name, folder)
    monkeypatch.chdir(folder.parent)
    relative = read_corpus(corpus.name, Path(folder.name))
    assert relative.hash == absolute.hash
    assert [replace(u, audio=u.audio.absolute()) for u in relative] == list(absolute)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_manifest_files_keep_everything(corpus: Corpus, folder: Path, suffix: str) -> None:
    manifest = read_corpus(corpus.name, folder)
    path = folder / f"manifest{suffix}"
    write_manifest(manifest, path)
    assert replace(read_manifest(path), places=()) == manifest


def test_a_wrong_folder_is_named(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; give the one that holds"):
        read_corpus(corpus.name, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    text(tmp_path / "empty" / "readme.txt", "")
    with pytest.raises(DataError, match=r"below it; give the folder that holds") as error:
        read_corpus(corpus.name, tmp_path / "empty")
    assert corpus.title in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", BY_TABLE)
def test_a_lost_recording_is_named(name: str, tmp_path: Path) -> None:
    folder = MAKERS[name](tmp_path / "copy")
    lost = read_corpus(name, folder).utterances[0].audio
    lost.unlink()
    with pytest.raises(DataError, match=f"it names {lost.stem}.*, which is not there"):
        read_corpus(name, folder)


@pytest.mark.parametrize("name", sorted({*NAMES} - {*BY_TABLE}))
def test_a_foreign_recording_is_named(name: str, tmp_path: Path) -> None:
    folder = MAKERS[name](tmp_path / "copy")
    sound(folder / "sub" / "my recording.wav")
    with pytest.raises(DataError, match=r"my recording\.wav: not a name of .* named like"):
        read_corpus(name, folder)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"meld"}))  # its films share names
def test_two_copies_are_named(name: str, tmp_path: Path) -> None:
    folder = MAKERS[name](tmp_path / "copy")
    path = read_corpus(name, folder).utterances[0].audio
    home = {"cremad": "AudioWAV", "iemocap": "Session1/sentences/wav", "savee": "AudioData/x"}
    again = folder / home.get(name, "") / "again" / path.parent.name / path.name
    if name == "msp-podcast":
        again = folder / "Audios" / "again" / path.name
    sound(again)
    with pytest.raises(DataError, match=r"the same recording as .*; remove one copy"):
        read_corpus(name, folder)


def test_releases_add_up(corpus: Corpus) -> None:
    assert corpus.releases
    for release in corpus.releases:
        assert set(release.labels) <= set(corpus.labels)
        for counts in (release.labels, release.partitions):
            assert sum(counts.values()) <= release.utterances
    assert set(corpus.labels.values()) <= {*EMOTIONS, None}
    assert corpus.licence
    assert corpus.citation


def test_a_small_copy_is_no_release(corpus: Corpus, folder: Path) -> None:
    manifest = read_corpus(corpus.name, folder)
    assert manifest.version == "no complete known release"
    release = corpus.closest(manifest)
    assert any("utterances instead of" in line for line in release.differences(manifest))


def test_an_unknown_corpus_is_suggested() -> None:
    with pytest.raises(UsageError, match="iemocp: no corpus of this name; did you mean 'iemocap'"):
        read_corpus("iemocp", Path())
