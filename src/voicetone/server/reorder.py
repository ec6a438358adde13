"""Frames that come in any order, brought back to it; tracks that come apart, brought together.

Two steps. `Track` puts one track's numbered frames in order and gives up those that don't come in
time. `Mixer` lays the tracks beside each other by their time stamps. Both are bounded: what waits
is never more than `MOST_AHEAD` seconds of audio per track.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from voicetone.server.refusal import RefusedError
from voicetone.server.telephony import Audio, Hole

WAIT_SECONDS = 0.2
"""A missing frame is waited for while no more than this much audio came after it."""
LAG_SECONDS = 0.5
"""A track is waited for while it is no further behind the others than this."""
LOOSE_SECONDS = 0.06
"""Time stamps may differ by this from where a frame would be by its number."""
PIECE_SECONDS = 0.1
"""Audio leaves in pieces of at least this, which saves work; a call gathers as much anyhow."""
MOST_AHEAD = 60.0
"""A frame that is further ahead than this is refused: its number or time stamp is wrong."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of a track.

    Args:
        number: of the frame in its track.
        at: sample at which it begins, by its time stamp.
        data: its samples, coded.
        lost: frames before it that never came.
    """

    number: int
    at: int
    data: bytes
    lost: int = 0


class Track:
    """The frames of one track, in order.

    Args:
        rate: samples per second.
        width: bytes of a sample.
    """

    def __init__(self, rate: int, width: int) -> None:
        self._rate, self._width = rate, width
        self._waiting: dict[int, Frame] = {}
        self._held = 0  # samples that wait
        self._next: int | None = None  # number of the frame that is due
        self.dropped = 0
        """Frames that came twice, or after they had been given up."""

    def put(self, frame: Frame) -> list[Frame]:
        """Take a frame; returns those that are in order now.

        Raises:
            RefusedError: a number that is far ahead.
        """
        if frame.number == self._next and not self._waiting:  # as it should be
            self._next += 1
            return [frame]
        samples = len(frame.data) // self._width
        if self._next is not None:
            if frame.number < self._next or frame.number in self._waiting:
                self.dropped += 1
                return []
            if (frame.number - self._next) * samples > MOST_AHEAD * self._rate:
                raise RefusedError(
                    "invalid_audio_frame",
                    f"frame {frame.number} where {self._next} is due: number frames one by one",
                )
        elif frame.number in self._waiting:
            self.dropped += 1
            return []
        self._waiting[frame.number] = frame
        self._held += samples
        if self._next is None and frame.number <= 1:
            self._next = frame.number  # a track begins with it, so there is nothing to wait for
        return self._due(WAIT_SECONDS * self._rate)

    def rest(self) -> list[Frame]:
        """What still waits, at the track's end."""
        return self._due(-1.0)

    def _due(self, patience: float) -> list[Frame]:
        """The frames that are due; a hole is passed over if more samples wait than `patience`."""
        out: list[Frame] = []
        while self._waiting:
            lost = 0
            if self._next is None or self._next not in self._waiting:
                if self._held <= patience:
                    break
                first = min(self._waiting)
                lost = 0 if self._next is None else first - self._next
                self._next = first
            frame = self._waiting.pop(self._next)
            self._held -= len(frame.data) // self._width
            self._next += 1
            out.append(Frame(frame.number, frame.at, frame.data, lost))
        return out


@dataclass(slots=True)
class _Line:
    """A track as the mixer sees it: where its next frame begins, and what has not left yet."""

    end: int = 0
    data: bytearray = field(default_factory=bytearray)
    heard: bool = False
    hole: tuple[int, int, str] | None = None  # one that may grow yet


class Mixer:
    """Tracks side by side: interleaved audio, with silence where a track has none.

    The call begins at the earliest time stamp of the first frames. After that frames of a track
    follow one another, and time stamps tell only where they jump.

    Args:
        tracks: how many, the channels of the audio.
        rate: samples per second.
        width: bytes of a sample.
        silence: the byte that silence is made of.
    """

    def __init__(self, tracks: int, rate: int, width: int, silence: int) -> None:
        self._rate, self._width, self._silence = rate, width, bytes([silence])
        self._piece, self._lag = round(PIECE_SECONDS * rate), round(LAG_SECONDS * rate)
        self._loose = round(LOOSE_SECONDS * rate)
        self._tracks = [Track(rate, width) for _ in range(tracks)]
        self._lines = [_Line() for _ in range(tracks)]
        self._origin: int | None = None
        self._early: list[tuple[int, Frame]] = []  # until the origin is known
        self._done = 0  # samples that have left

    def put(self, track: int, frame: Frame) -> list[Audio | Hole]:
        """Take a frame of a track (from 0); returns what can leave.

        Raises:
            RefusedError: a number or time stamp that is far from where it could be.
        """
        if not frame.data or len(frame.data) % self._width:
            raise RefusedError("invalid_audio_frame", "a frame without whole samples: send some")
        line = self._lines[track]
        if self._origin is not None:
            ahead = frame.at - self._origin - max(self._done, line.end)
            if ahead > MOST_AHEAD * self._rate:
                raise RefusedError(
                    "invalid_audio_frame",
                    f"a time stamp {ahead / self._rate:.0f} s ahead: stamp frames in milliseconds "
                    "since the stream began",
                )
        out: list[Audio | Hole] = []
        for due in self._tracks[track].put(frame):
            out += self._place(track, due)
        if max([line.end for line in self._lines]) - self._done >= self._piece:
            out += self._leave(self._lag)
        return out

    def rest(self) -> list[Audio | Hole]:
        """What is left, at the end of the call."""
        out: list[Audio | Hole] = []
        for index, track in enumerate(self._tracks):
            for due in track.rest():
                out += self._place(index, due)
        out += self._settle()
        out += self._leave(0)
        for index in range(len(self._lines)):
            out += self._told(index)
        return out

    # -- inside ----------------------------------------------------------------------------------

    def _place(self, index: int, frame: Frame) -> list[Audio | Hole]:
        """Lay a frame that is in order at its place."""
        if self._origin is None:
            # The tracks' first frames may come in any order: a few are looked at first.
            self._early.append((index, frame))
            held = sum(len(early.data) for _, early in self._early) // self._width
            if len(self._lines) == 1 or held > WAIT_SECONDS * self._rate:
                return self._settle()
            return []
        return self._laid(index, frame)

    def _settle(self) -> list[Audio | Hole]:
        """Fix where the call begins, and lay what waited for that."""
        out: list[Audio | Hole] = []
        if self._early:
            self._origin = min(frame.at for _, frame in self._early)
            for index, frame in self._early:
                out += self._laid(index, frame)
            self._early.clear()
        return out

    def _laid(self, index: int, frame: Frame) -> list[Audio | Hole]:
        line, count = self._lines[index], len(frame.data) // self._width
        at = self._where(line, frame, count)
        out: list[Audio | Hole] = []
        missed = at > line.end and frame.lost > 0
        if missed:
            out += self._hole(index, line.end, at, "lost")
        self._fill(line, at)
        skipped = min(max(self._done - at, 0), count)
        if skipped:  # the others went on without it
            out += self._hole(index, at, at + skipped, "late")
        elif not missed:
            out += self._told(index)
        line.data += frame.data[skipped * self._width :]
        line.heard, line.end = True, at + count
        return out

    def _where(self, line: _Line, frame: Frame, count: int) -> int:
        """The sample of the call at which a frame begins."""
        assert self._origin is not None
        farthest = max(line.end, self._done) + round(MOST_AHEAD * self._rate)
        stamped = min(frame.at - self._origin, farthest)
        if not line.heard:
            return max(stamped, 0)
        if frame.lost:
            # Some systems number the frames of all tracks together: then numbers are missing in
            # each, and the time stamps tell that no audio is.
            missing = stamped - line.end
            if 2 * missing < count:
                return line.end
            expected = frame.lost * count
            return line.end + (expected if abs(missing - expected) <= self._loose else missing)
        if stamped - line.end > self._loose:
            return stamped
        return line.end

    def _fill(self, line: _Line, at: int) -> None:
        """Silence up to a sample, as far as it has not left already."""
        count = at - max(line.end, self._done)
        if count > 0:
            line.data += self._silence * (count * self._width)

    def _leave(self, lag: int) -> list[Audio | Hole]:
        """What all tracks have, or have been waited for long enough."""
        ends = [max(line.end, self._done) for line in self._lines]
        upto = max(min(ends), max(ends) - lag)
        count = upto - self._done
        if count <= 0 or (count < self._piece and lag > 0):
            return []
        columns = []
        for line in self._lines:
            taken = bytes(line.data[: count * self._width])
            del line.data[: count * self._width]
            columns.append(taken + self._silence * (count * self._width - len(taken)))
        self._done = upto
        if len(columns) == 1:
            return [Audio(columns[0])]
        kind = np.dtype(f"u{self._width}")
        mixed = np.empty((count, len(columns)), kind)
        for index, column in enumerate(columns):
            mixed[:, index] = np.frombuffer(column, kind)
        return [Audio(mixed.tobytes())]

    def _hole(self, index: int, start: int, end: int, reason: str) -> list[Audio | Hole]:
        """Note a hole; holes that touch are told as one."""
        line = self._lines[index]
        if line.hole is not None and line.hole[1:] == (start, reason):
            line.hole = (line.hole[0], end, reason)
            return []
        told = self._told(index)
        line.hole = (start, end, reason)
        return told

    def _told(self, index: int) -> list[Audio | Hole]:
        line = self._lines[index]
        if line.hole is None:
            return []
        (start, end, reason), line.hole = line.hole, None
        return [Hole(index + 1, start / self._rate, end / self._rate, reason)]
