"""Training of one speaker-aware transformer: numbers in, numbers out, so that it can be done in a
process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voicetone.models.losses import LossSettings, Targets, class_loss, class_weights, multi_loss
from voicetone.models.speaker_aware import Scores, SpeakerAware, SpeakerAwareConfig
from voicetone.models.speaker_aware_parts import hidden
from voicetone.training.replica_data import Job, Rows, Stream
from voicetone.training.speaker_curve import Point, renormalised
from voicetone.training.speaker_recipe import SpeakerSystem
from voicetone.training.speaker_voices import Knowledge
from voicetone.types import Floats

_AT_ONCE = 64  # utterances that are scored together
_WARM = 0.1  # of the steps, over which the rate rises
_RISE = 10.0  # of the reversed gradient's strength (Ganin et al., JMLR 2016, section 5.2.2)


@dataclass(frozen=True)
class Frames:
    """The frames of all utterances of a run."""

    x: Floats
    """`[n, frames, values]`."""
    mask: Floats
    """`[n, frames]`, 1 for a frame of the utterance."""


@dataclass(frozen=True)
class Trial:
    """One network to be trained: all that it needs beside the frames.

    Rows are places among the utterances of the network's target.
    """

    system: SpeakerSystem
    config: SpeakerAwareConfig
    job: Job
    steps: int
    """Per epoch."""
    place: Rows
    """Of each utterance among the frames `[n]`."""
    group: Rows
    """Of utterances with one normalisation `[n]`."""
    mean: Floats
    """`[groups, values]`."""
    scale: Floats
    limit: float
    """Normalised values beyond so many SDs are cut to it."""
    truth: Rows
    """Places of the classes `[n]`."""
    speakers: Rows
    """Places among the training speakers `[n]`, -1 for others."""
    before: Rows
    """Rows of the utterances before each `[n, context]`, the nearest last, -1 where there is
    none."""
    knowledge: Knowledge
    """Of each utterance's speaker."""
    curve: tuple[Point, ...]
    """Other knowledge of the test utterances' speakers."""

    @property
    def total(self) -> int:
        """Steps in all."""
        return self.steps * self.system.epochs

    def begin(self, frames: Frames, device: torch.device) -> Learner:
        """Its network, ready to be trained."""
        return Training(frames, self, device)

    def told(self, point: Point) -> Self:
        """The same, knowing of its test speakers what a point of the curve says."""
        whole, tested = self.knowledge, point.knowledge
        parts = [whole.embedding.copy(), whole.known.copy(), whole.seconds.copy()]
        for part, new in zip(parts, (tested.embedding, tested.known, tested.seconds), strict=True):
            part[self.job.test] = new
        statistics = renormalised(self.group, self.mean, self.scale, self.job.test, point)
        group, mean, scale = statistics
        return replace(self, knowledge=Knowledge(*parts), group=group, mean=mean, scale=scale)


@dataclass
class Outcome:
    """What a training gives."""

    epoch: int = 0
    """The best on validation speakers, else the last; from 1."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    state: dict[str, Floats] = field(default_factory=dict)
    """The network's weights of that epoch."""
    scores: Floats | None = None
    """Probabilities of the test utterances `[tested, classes]`."""
    further: list[Floats] = field(default_factory=list)
    """The same for each point of the curve."""
    without: dict[str, Floats] = field(default_factory=dict)
    """The same where something is missing, by its name."""
    diverged: bool = False


class Learner(Protocol):
    """What a trial begins."""

    def run(self, step: Callable[[], None]) -> Outcome:
        """Train; `step` is called after each step."""

    def test(self, outcome: Outcome) -> None:
        """Add the scores of the test utterances."""


def fit(
    frames: Frames, trial: Trial, step: Callable[[], None], device: torch.device | None = None
) -> Outcome:
    """Train one network and score its test utterances.

    Args:
        frames: of all utterances.
        trial: what is trained.
        step: called after each step.
        device: where; the processor if not given.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.job.draw)  # weights and dropout
        learner = trial.begin(frames, device or torch.device("cpu"))
        outcome = learner.run(step)
        if not outcome.diverged:
            learner.test(outcome)
    return outcome


class Training:
    """A network, its data and its optimiser."""

    def __init__(self, frames: Frames, trial: Trial, device: torch.device) -> None:
        self.frames, self.trial, self.device = frames, trial, device
        self.acoustic = SpeakerAware(trial.config)
        self.net = self.network().to(device)
        (self.space,) = trial.config.classes
        system = trial.system
        counts = np.bincount(
            trial.truth[trial.job.labelled], minlength=trial.config.classes[self.space]
        )
        self.settings = LossSettings(
            weights={self.space: class_weights(torch.from_numpy(counts)).to(device)},
            gamma=system.gamma if system.loss == "focal" else 0.0,
            smoothing=system.smoothing,
        )
        self.generator = torch.Generator().manual_seed(trial.job.draw)
        self.optimiser = torch.optim.AdamW(self.groups(), weight_decay=system.decay, fused=True)
        self.peaks = [float(group["lr"]) for group in self.optimiser.param_groups]
        self.done = 0

    def network(self) -> nn.Module:
        """All that is trained, around `acoustic`, whose weights are drawn first."""
        return self.acoustic

    def groups(self) -> list[dict[str, Any]]:
        """What is trained with which peak of the rate."""
        return [{"params": list(self.net.parameters()), "lr": self.trial.system.rate}]

    def run(self, step: Callable[[], None]) -> Outcome:
        """All epochs; the network is left with the weights that are kept."""
        trial, outcome = self.trial, Outcome()
        stream = Stream(trial.job.labelled, (trial.job.draw, 0))
        best = (-1.0, 0.0)
        state = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        for epoch in range(1, trial.system.epochs + 1):
            self.net.train()
            told: list[dict[str, float]] = []
            for _ in range(trial.steps):
                told.append(self._step(stream.take(trial.system.batch)))
                step()
                if not np.isfinite(told[-1]["loss"]):
                    outcome.diverged = True
                    break
            means = {k: float(np.mean([t[k] for t in told])) for k in told[0]}
            means |= {} if outcome.diverged else self._watch()
            for name, value in means.items():
                outcome.curves.setdefault(name, []).append(value)
            if outcome.diverged or not all(np.isfinite(v) for v in means.values()):
                outcome.diverged = True
                break
            score = (means.get("uar", 0.0), -means.get("validation_loss", -float(epoch)))
            if score > best:
                best, outcome.epoch = score, epoch
                state = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.net.load_state_dict(state)
        outcome.state = {k: v.cpu().numpy() for k, v in state.items()}
        return outcome

    def _step(self, rows: Rows) -> dict[str, float]:
        """One step down the loss of a batch."""
        trial, system = self.trial, self.trial.system
        share = self.done / max(trial.total, 1)
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * _height(share)
        self.acoustic.reversal = system.reversal * float(2.0 / (1.0 + np.exp(-_RISE * share)) - 1.0)
        scores = self.scores(rows, trial.knowledge, learning=True)
        speakers = self._tensor(trial.speakers[rows])
        targets = Targets(
            labels={self.space: self._tensor(trial.truth[rows])},
            votes={},
            speakers=None if scores.speakers is None else speakers,
        )
        loss = multi_loss(scores.logits, scores.dimensions, scores.speakers, targets, self.settings)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if system.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), system.clip)
        self.optimiser.step()
        self.done += 1
        told = {"loss": float(loss.detach())}
        if scores.speakers is not None:
            told["speaker_accuracy"] = float((scores.speakers.argmax(1) == speakers).float().mean())
        if scores.text_share is not None:
            told["text_share"] = float(scores.text_share.detach().mean())
        return told

    def _watch(self) -> dict[str, float]:
        """What the validation speakers show."""
        rows = self.trial.job.validation
        if not len(rows):
            return {}
        logits = self._logits(rows, self.trial.knowledge)
        truth = self._tensor(self.trial.truth[rows])
        loss = class_loss(logits, truth, self.settings.weights[self.space])
        guess = logits.argmax(1).cpu().numpy()
        return {"uar": recall(self.trial.truth[rows], guess), "validation_loss": float(loss)}

    def test(self, outcome: Outcome) -> None:
        """Score the test utterances, and again with the knowledge of each point of the curve."""
        whole, test = self.trial, self.trial.job.test
        outcome.scores = self.probabilities(test, whole.knowledge)
        for point in whole.curve:
            self.trial = whole.told(point)
            outcome.further.append(self.probabilities(test, self.trial.knowledge))
        self.trial = whole

    def probabilities(self, rows: Rows, knowledge: Knowledge) -> Floats:
        """Of the classes `[rows, classes]`."""
        logits = self._logits(rows, knowledge).double()
        return np.asarray(torch.softmax(logits, dim=1).cpu().numpy(), dtype=np.float32)

    @torch.no_grad()
    def _logits(self, rows: Rows, knowledge: Knowledge) -> Tensor:
        self.net.eval()
        parts = [rows[at : at + _AT_ONCE] for at in range(0, len(rows), _AT_ONCE)]
        return torch.cat([self.scores(part, knowledge).logits[self.space] for part in parts])

    def scores(self, rows: Rows, knowledge: Knowledge, *, learning: bool = False) -> Scores:
        """Of utterances `[B]`, with those before them where there is context.

        Args:
            rows: which.
            knowledge: of all utterances' speakers.
            learning: hide stretches and speakers as training does.
        """
        if self.acoustic.context is None:
            return self.acoustic(*self.inputs(rows, knowledge, learning))  # type: ignore[no-any-return]
        before = self.trial.before[rows]
        every = np.unique(np.concatenate([rows, before[before >= 0]]))
        states, real = self.acoustic.encode(*self.inputs(every, knowledge, learning))
        vectors = self.acoustic.pooling(states, real)
        there = self._tensor((before >= 0).astype(np.float32))
        place = np.searchsorted(every, np.maximum(before, every[0]))
        context = vectors[self._tensor(place)]
        return self.acoustic.scored(
            vectors[self._tensor(np.searchsorted(every, rows))], context, there
        )

    def inputs(
        self, rows: Rows, knowledge: Knowledge, learning: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised frames, their mask, embeddings and who is known."""
        trial = self.trial
        place, group = trial.place[rows], trial.group[rows]
        x, mask = self._tensor(self.frames.x[place]), self._tensor(self.frames.mask[place])
        x = (x - self._tensor(trial.mean[group])[:, None]) / self._tensor(trial.scale[group])[
            :, None
        ]
        x = x.clamp_(-trial.limit, trial.limit) * mask[:, :, None]
        known = self._tensor(knowledge.known[rows])
        if learning:
            x = masked(x, mask, trial.system.masks, self.generator)
            if trial.system.takes_speaker and trial.system.hidden:
                known = hidden(known, trial.system.hidden, self.generator)
        return x, mask, self._tensor(knowledge.embedding[rows]), known

    def _tensor(self, values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


def masked(x: Tensor, mask: Tensor, stretches: int, generator: torch.Generator) -> Tensor:
    """Frames of which stretches of bands and of time are zeros, the mean of what is normalised.

    A stretch is an eighth at most, of the bands or of the utterance's own frames.

    Args:
        x: `[B, n, bands]`.
        mask: `[B, n]`.
        stretches: of each kind, per utterance.
        generator: of the draws, on the processor.
    """
    count, bands = len(x), x.shape[2]
    lengths = mask.sum(1)
    for _ in range(stretches):
        draws = torch.rand((4, count, 1), generator=generator).to(x.device)
        low, wide = draws[0] * bands, draws[1] * bands / 8
        band = torch.arange(bands, device=x.device)
        start, long = draws[2] * lengths[:, None], draws[3] * lengths[:, None] / 8
        time = torch.arange(x.shape[1], device=x.device)
        x = x * ~((band >= low) & (band < low + wide))[:, None, :]
        x = x * ~((time >= start) & (time < start + long))[:, :, None]
    return x


def _height(share: float) -> float:
    """Of the learning rate when this share of the steps is done: up linearly, down as a cosine."""
    if share < _WARM:
        return (share + 1e-3) / (_WARM + 1e-3)
    return float(0.5 * (1.0 + np.cos(np.pi * (share - _WARM) / (1.0 - _WARM))))


def recall(truth: Rows, guess: Rows) -> float:
    """Unweighted average recall over the classes that there are."""
    return float(np.mean([(guess[truth == c] == c).mean() for c in np.unique(truth)]))
