"""A live call: samples in as they come, events out. Files go the same way.

Only a session holds the state of a stream; predictors are shared between any number of them.
Whatever the pieces in which the samples come, the events are the same, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voicetone.audio.resample import StreamResampler, check_limits
from voicetone.audio.units import (
    FRAME,
    FRAME_SECONDS,
    HOP_FRAMES,
    SAMPLE_RATE,
    SHORT_SECONDS,
    WINDOW_FRAMES,
    frames_in,
)
from voicetone.errors import AudioError, UsageError
from voicetone.inference.batch import Job, Output, run_jobs
from voicetone.inference.channels import choose_channels, rows_of
from voicetone.inference.enrolment import Listening, Speakers, voices_of
from voicetone.inference.events import (
    CurrentEvent,
    Event,
    OverallEvent,
    SpeakerEvent,
    SpeechEvent,
    SpeechStartEvent,
    WindowEvent,
)
from voicetone.inference.layout import CHUNK, Placement, window_at_end, window_of_chunk
from voicetone.inference.levels import Levels
from voicetone.inference.speech import Activity, Turns, TurnStart
from voicetone.inference.tone import Tone
from voicetone.inference.words import Wording
from voicetone.pretrained.predictor import Predictor
from voicetone.types import Floats, Overall, Said, Scores, Segment, SpeakerUse, Window

__all__ = [
    "CurrentEvent",
    "Event",
    "LiveSession",
    "OverallEvent",
    "SpeakerEvent",
    "SpeechEvent",
    "SpeechStartEvent",
    "WindowEvent",
]

MAX_CHUNKS = 4  # in one job: 10 s; more gains no speed, and takes memory
PUSH_SECONDS = 10.0  # longer pushes are taken in pieces of this, so that memory stays flat
LOUDEST = 64.0  # full scale is 1: samples beyond this are integers that nobody scaled


class LiveSession:
    """One call or recording. Not for use by several threads at once.

    `push` and `close` do everything. A scheduler that batches many sessions instead calls `feed`
    (in the end `end`), runs the jobs of all sessions by `run_jobs`, hands each output to
    `finish`, and asks `ready` for what has become possible; until all jobs of a session are
    finished it gives no further ones.

    Memory does not grow with the call.

    Args:
        predictor: the model.
        sample_rate: of the samples to come, Hz.
        channels: of the samples to come.
        names: of the channels.
        analysed: channels to analyse, counted from 1; by default `choose_channels` decides.
        speakers: whose voices are known; see `voicetone.inference.enrolment.Speakers`.

    Raises:
        AudioError: a rate or a number of channels outside the limits.
        UsageError: names, analysed channels or voices that don't fit.
        DataError: a voice that was enrolled for another model.
    """

    def __init__(
        self,
        predictor: Predictor,
        sample_rate: int,
        channels: int = 1,
        *,
        names: Sequence[str] | None = None,
        analysed: Sequence[int] | None = None,
        speakers: Speakers = "auto",
    ) -> None:
        check_limits(sample_rate, channels)
        spec = predictor.spec
        choice = choose_channels(channels, names, analysed)
        self.channels = choice.channels
        self.reason = choice.reason
        self.sample_rate = sample_rate
        self._predictor = predictor
        self._width = channels
        self._rows = None if len(choice.channels) == channels else rows_of(choice.channels)
        self._resampler = StreamResampler(sample_rate, len(choice.channels))
        voices, auto = voices_of(predictor, choice.channels, speakers), speakers is not None
        self._streams = [
            _Stream(channel, predictor, Listening(predictor, voices.get(channel), auto))
            for channel in choice.channels
        ]
        self._context = spec.shapes.context
        self._waiting = [np.zeros((len(self.channels), self._context), dtype=np.float32)]
        self._available = 0  # samples that wait, without the context
        self._chunks = 0  # handed out in jobs
        self._pushed = 0  # samples at `sample_rate`
        self._total = 0  # samples at 16 kHz
        self._ended = False
        self._broken = False
        self._all_given = False
        self._under_way: set[Job] = set()
        self._held: list[tuple[int, int, Event]] = []

    def push(self, samples: Floats) -> list[Event]:
        """Take the next samples and analyse all that has become complete.

        Args:
            samples: float32 `[channels, n]`, or `[n]` for one channel; full scale is ±1.

        Raises:
            AudioError: NaN, infinite or unscaled samples; nothing of this push was taken.
            UsageError: another shape or type, or a session that is closed.
            BundleError: the model failed; the session can't go on.
        """
        samples = self._checked(samples)
        step = round(PUSH_SECONDS * self.sample_rate)
        events: list[Event] = []
        for at in range(0, samples.shape[1], step):
            self._take(samples[:, at : at + step])
            events += self._run()
        return events

    def close(self) -> list[Event]:
        """Analyse what is left and end the session. Closing again gives nothing.

        Raises:
            UsageError: jobs are under way, or the session had failed.
            BundleError: the model failed.
        """
        if self._ended:
            return []
        self._check_usable()
        self._end()
        return self._run()

    def say(self, channel: int, start: float, end: float, text: str) -> None:
        """Tell the words of a channel from `start` to `end` seconds, for a model that reads them.

        They count for every window that overlaps them and is complete only with audio that comes
        after this call, and for the one that the end of the audio adds. Nothing waits for words.

        Raises:
            UsageError: the model takes no words; a channel that is not analysed; times or words
                that can't be, or too many; a session that is closed.
        """
        self._check_usable(jobs_may_run=True)
        came = self._pushed * SAMPLE_RATE / self.sample_rate
        self._stream(channel).wording.say(Said(start, end, text), came)

    def feed(self, samples: Floats) -> list[Job]:
        """Take samples as `push` does, but leave the work to the caller.

        Raises:
            AudioError, UsageError: as `push`.
        """
        samples = self._checked(samples, jobs_may_run=True)
        self._take(samples)
        return self.ready()

    def end(self) -> list[Job]:
        """No more samples will come; the session is `finished` once no jobs are left.

        Raises:
            UsageError: the session has ended or failed.
        """
        self._check_usable(jobs_may_run=True)
        self._end()
        return self.ready()

    def ready(self) -> list[Job]:
        """One job per analysed channel if a chunk or the end is there and no job is under way."""
        if self._under_way or self._all_given:
            return []
        # From which window on a voice is known must not depend on what comes in one job.
        alone = any(stream.listening.open for stream in self._streams)
        chunks = min(self._available // CHUNK, 1 if alone else MAX_CHUNKS)
        left = self._available - chunks * CHUNK
        last = self._ended and left < CHUNK and not (alone and chunks)
        if not chunks and not last:
            return []
        rest = left if last else 0
        size = chunks * CHUNK + rest
        buffer = np.concatenate(self._waiting, axis=1)
        padding = frames_in(rest) * FRAME - rest
        samples = np.pad(buffer[:, : self._context + size], ((0, 0), (0, padding)))
        self._waiting = [buffer[:, size:].copy()]
        self._available -= size
        windows = self._windows(chunks, last)
        jobs = [
            stream.job(position, samples[position], windows, self._chunks, last)
            for position, stream in enumerate(self._streams)
        ]
        self._chunks += chunks
        self._all_given = last
        self._under_way = set(jobs)
        return jobs

    def finish(self, job: Job, output: Output) -> list[Event]:
        """Take a job's output. The events of all channels come with the last of their jobs.

        Raises:
            UsageError: the job is not under way in this session.
        """
        if job not in self._under_way:
            raise UsageError("this job is not under way in this session: finish each job once")
        self._under_way.remove(job)
        total = self._total if job.last else None
        for chunk, event in self._streams[job.position].take(job, output, total):
            self._held.append((chunk, job.position, event))
        if self._under_way:
            return []
        # By chunk, then channel: the order must not depend on how many chunks a job had.
        events = [event for _, _, event in sorted(self._held, key=lambda held: held[:2])]
        self._held = []
        return events

    @property
    def finished(self) -> bool:
        """The end was reached and every job is finished."""
        return self._all_given and not self._under_way

    @property
    def seconds(self) -> float:
        """Audio taken so far."""
        return self._pushed / self.sample_rate

    @property
    def waiting(self) -> float:
        """Seconds of audio taken and not yet given out in jobs."""
        return self._available / SAMPLE_RATE

    def overall(self, channel: int) -> Overall:
        """The tone of a channel as a whole, so far.

        Raises:
            UsageError: the channel is not analysed.
        """
        return self._stream(channel).tone.overall()

    def speaker(self, channel: int) -> SpeakerUse | None:
        """What the model knows of a channel's speaker so far; None where it takes none.

        Raises:
            UsageError: the channel is not analysed.
        """
        return self._stream(channel).listening.use

    def windows_with_words(self, channel: int) -> int | None:
        """Windows of a channel whose scores know words; None where the model takes none.

        Raises:
            UsageError: the channel is not analysed.
        """
        return self._stream(channel).wording.windows

    def flags(self, channel: int) -> tuple[str, ...]:
        """`short` (under 1 s), `silent` (nothing but zeros), `clipped`, of the audio so far.

        Raises:
            UsageError: the channel is not analysed.
        """
        levels = self._stream(channel).levels
        said = {
            "short": self._pushed < SHORT_SECONDS * self.sample_rate,
            "silent": levels.silent,
            "clipped": levels.clipped,
        }
        return tuple(name for name, true in said.items() if true)

    def _stream(self, channel: int) -> _Stream:
        if channel not in self.channels:
            raise UsageError(f"channel {channel} is not analysed: {self.reason}")
        return self._streams[self.channels.index(channel)]

    def _checked(self, samples: Floats, *, jobs_may_run: bool = False) -> Floats:
        """The analysed rows, `[analysed, n]`, if everything about them is right."""
        self._check_usable(jobs_may_run=jobs_may_run)
        kind = getattr(samples, "dtype", type(samples).__name__)
        if kind != np.float32:
            raise UsageError(f"samples of type {kind}: give a float32 array, full scale ±1")
        if samples.ndim == 1 and self._width == 1:
            samples = samples[None]
        if samples.ndim != 2 or samples.shape[0] != self._width:
            raise UsageError(
                f"samples of shape {list(samples.shape)}: give [channels, n] with "
                f"{self._width} channels"
            )
        if self._rows is not None:
            samples = samples[self._rows]
        if samples.size:
            self._check_values(samples)
        return samples

    def _check_values(self, samples: Floats) -> None:
        peak = float(np.abs(samples).max())
        if peak <= LOUDEST:  # false for NaN
            return
        wrong = ~(np.abs(samples) <= LOUDEST).all(axis=0)
        at = (self._pushed + int(np.argmax(wrong))) / self.sample_rate
        if np.isfinite(peak):
            raise AudioError(
                f"samples reach {peak:g} at {at:.3f} s where full scale is 1: "
                "scale integers, 16-bit ones by 1/32768"
            )
        raise AudioError(
            f"the audio holds NaN or infinite samples at {at:.3f} s: repair or re-export it"
        )

    def _check_usable(self, *, jobs_may_run: bool = False) -> None:
        if self._ended:
            raise UsageError("the session is closed: start another for more audio")
        if self._broken:
            raise UsageError("the model failed in this session: start another")
        if self._under_way and not jobs_may_run:
            raise UsageError("jobs are under way: finish them first")

    def _take(self, samples: Floats) -> None:
        for row, stream in zip(samples, self._streams, strict=True):
            stream.levels.push(row)
        self._pushed += samples.shape[1]
        self._add(self._resampler.push(samples))

    def _end(self) -> None:
        self._ended = True
        self._add(self._resampler.flush())

    def _add(self, samples: Floats) -> None:
        if samples.shape[1]:
            self._waiting.append(samples)
            self._available += samples.shape[1]
            self._total += samples.shape[1]

    def _run(self) -> list[Event]:
        events: list[Event] = []
        try:
            while jobs := self.ready():
                for job, output in zip(jobs, run_jobs(self._predictor, jobs), strict=True):
                    events += self.finish(job, output)
        except BaseException:
            self._broken = True
            raise
        return events

    def _windows(self, chunks: int, last: bool) -> tuple[Placement, ...]:
        whole = [window_of_chunk(chunk) for chunk in range(self._chunks, self._chunks + chunks)]
        end = [window_at_end(self._total)] if last else []
        return tuple(place for place in whole + end if place is not None)


class _Stream:
    """The state of one analysed channel."""

    def __init__(self, channel: int, predictor: Predictor, listening: Listening) -> None:
        spec = predictor.spec
        self.channel = channel
        self.listening = listening
        self.wording = Wording(predictor)
        self.levels = Levels()
        self._sentiment = spec.space("sentiment")
        self._emotion = spec.space("emotion")
        self.tone = Tone(self._sentiment, self._emotion, spec.dont_know.sentiment)
        self._activity = Activity(spec.speech)
        self._turns = Turns()
        self._state = np.zeros(spec.shapes.state, dtype=np.float32)
        self._history = np.zeros((0, spec.shapes.frame), dtype=np.float32)
        self._active = np.zeros(0)  # seconds of active speech in each of the newest frames
        self._frames = 0

    def job(
        self,
        position: int,
        samples: Floats,
        windows: tuple[Placement, ...],
        chunk: int,
        last: bool,
    ) -> Job:
        return Job(
            position=position,
            samples=samples,
            state=self._state,
            history=self._history,
            first=self._frames,
            windows=windows,
            chunk=chunk,
            last=last,
            voice=self.listening.voice,
            enrolling=self.listening.speech if windows else None,
            texts=self.wording.taken(windows, chunk),
        )

    def take(self, job: Job, output: Output, total: int | None) -> list[tuple[int, Event]]:
        """Events of a job, each with the number of its chunk.

        Args:
            job: the job.
            output: what the model made of it.
            total: samples of the whole stream at 16 kHz, if it ends with the job.
        """
        # Copies: a view would keep the whole batch, of which it is one row, in memory.
        self._state = output.state.copy()
        joined = np.concatenate([self._history, output.frames])
        self._history = joined[-WINDOW_FRAMES:].copy()
        events: list[tuple[int, Event]] = []
        rows = list(zip(range(len(job.windows)), job.windows, job.texts, strict=True))
        chunk = job.chunk
        if job.enrolling is not None:
            known = self.listening.learn(output.enrolled, chunk * CHUNK / SAMPLE_RATE)
            events += [] if known is None else [(chunk, SpeakerEvent(self.channel, known))]
        for at in range(0, len(output.speech), HOP_FRAMES):
            edges = self._listen(output.speech[at : at + HOP_FRAMES], total)
            events += [(chunk, self._edge(edge)) for edge in edges]
            while rows and rows[0][1].last <= self._frames:
                events += [(chunk, event) for event in self._window(*rows.pop(0), output)]
            chunk += 1
        if len(output.speech):
            self.listening.hear(job.samples, self._active[-len(output.speech) :])
        for row in rows:  # the end came with no frame of its own
            events += [(chunk, event) for event in self._window(*row, output)]
        if total is not None:
            events += [(chunk, self._edge(edge)) for edge in self._turns.close(total)]
            events.append((chunk, OverallEvent(self.channel, self.tone.overall())))
        return events

    def _edge(self, edge: TurnStart | Segment) -> Event:
        if isinstance(edge, TurnStart):
            return SpeechStartEvent(self.channel, edge.seconds)
        return SpeechEvent(self.channel, edge)

    def _listen(self, probability: Floats, total: int | None) -> list[TurnStart | Segment]:
        active = self._activity.push(probability)
        seconds = active * FRAME_SECONDS
        self._frames += len(active)
        if total is not None and self._frames == frames_in(total):
            real = total - (self._frames - 1) * FRAME
            seconds[-1] = active[-1] * real / SAMPLE_RATE
        self._active = np.concatenate([self._active, seconds])[-WINDOW_FRAMES:]
        return self._turns.push(active)

    def _window(self, row: int, place: Placement, text: str | None, output: Output) -> list[Event]:
        known = self._frames - len(self._active)
        active = self._active[place.first - known : place.last - known]
        speech = bool(active.any())
        # A model may have no answer for a window: then there are no scores, as without speech.
        told = speech and not np.isnan(output.scores["sentiment"][row]).any()
        if told and text is not None:
            self.wording.counted()
        window = Window(
            start=place.start_seconds,
            end=place.end_seconds,
            speech=speech,
            speech_seconds=float(active[place.newest - place.first :].sum()),
            sentiment=self._scores("sentiment", row, output) if told else None,
            emotion=self._scores("emotion", row, output) if told else None,
        )
        events: list[Event] = [WindowEvent(self.channel, window)]
        current = self.tone.add(window)
        if current is not None:
            events.append(CurrentEvent(self.channel, current))
        return events

    def _scores(self, name: str, row: int, output: Output) -> Scores:
        space = self._sentiment if name == "sentiment" else self._emotion
        return dict(zip(space.labels, output.scores[name][row].tolist(), strict=True))
