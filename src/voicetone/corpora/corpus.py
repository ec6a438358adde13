"""What a reader is: facts about a corpus, the totals of its releases, and a function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.types import Utterance


@dataclass(frozen=True, slots=True)
class Release:
    """The totals of an official release, to compare a copy with.

    `labels` count the corpus's own words, `partitions` its own splits; empty where not known.
    """

    version: str
    utterances: int
    speakers: int | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)

    def differences(self, manifest: Manifest) -> Iterator[str]:
        """What a manifest has otherwise, in words."""
        if len(manifest) != self.utterances:
            yield f"{len(manifest):,} utterances instead of {self.utterances:,}"
        if self.speakers is not None and len(manifest.speakers) != self.speakers:
            yield f"{len(manifest.speakers)} speakers instead of {self.speakers}"
        for what, expected, found in (
            ("labelled", self.labels, Counter(u.label_raw for u in manifest)),
            ("in the partition", self.partitions, Counter(u.partition for u in manifest)),
        ):
            for name, count in expected.items():
                if found[name] != count:
                    yield f"{found[name]:,} {what} {name} instead of {count:,}"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus that can be read from its folder as it is distributed.

    Attributes:
        name: as in `voicetone corpus prepare NAME`.
        labels: the corpus's word → emotion; None for words that are none of the nine.
        read: folder → utterances, sorted by file.
        releases: the newest last.
    """

    name: str
    title: str
    licence: str
    citation: str
    labels: Mapping[str, str | None]
    releases: tuple[Release, ...]
    read: Callable[[Path], Sequence[Utterance]]

    def manifest(self, folder: Path) -> Manifest:
        """The manifest of a folder.

        Raises:
            DataError: the folder is not there or not laid out as the corpus is, or a recording
                that its tables name is gone.
        """
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; give the one that holds {self.title}")
        utterances = tuple(self.read(folder))
        made = Manifest(self.name, "", self.licence, self.citation, utterances)
        version = next((r.version for r in self.releases if not list(r.differences(made))), "")
        version = version or "no complete known release"
        return Manifest(self.name, version, self.licence, self.citation, utterances)

    def closest(self, manifest: Manifest) -> Release:
        """The release whose number of utterances is nearest."""
        return min(self.releases, key=lambda r: abs(r.utterances - len(manifest)))
