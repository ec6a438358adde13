"""One training of the recogniser with a token of sentiment, and what it hears in clips."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor, nn

from voicetone.audio.units import FRAME_SECONDS
from voicetone.augment.masking import masked
from voicetone.augment.transpose import transposed
from voicetone.errors import DataError, VoicetoneError
from voicetone.language.tokens import UNKNOWN, Tokens
from voicetone.models.asr_search import SearchSettings, greedy_ctc, search
from voicetone.models.asr_tone import (
    SENTIMENT_IDS,
    AsrConfig,
    AsrTargets,
    AsrTone,
    asr_targets,
)
from voicetone.models.conformer import ConformerConfig
from voicetone.models.front import Front, FrontConfig
from voicetone.training.asr_data import AsrExamples, chances
from voicetone.training.asr_recipe import AsrSettings
from voicetone.training.tone_batches import LAGS_PER_BAND
from voicetone.training.tone_data import Clip, ClipStore
from voicetone.training.tone_fit import follow
from voicetone.training.written import whole
from voicetone.types import Floats

_FORMAT = 1
_MOST_CHECKED = 200  # validation clips whose loss is taken
_MOST_SIZE = 65_536  # of any number in a file's configuration
_MOST_LAYERS = 64
_SIZES = ("mels", "stem", "width", "expand", "kernel", "dilations", "inputs", "layers", "heads")
_DAMAGE = (
    *(OSError, KeyError, TypeError, ValueError, RuntimeError),
    *(ArithmeticError, RecursionError, VoicetoneError),
)


Batch = tuple[Tensor, Tensor, AsrTargets]
"""Features `[B, 2n, F]`, their frames before padding `[B]`, and targets."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was heard in one clip.

    Args:
        text: by attention.
        score: weighted log-probability of the text.
        sentiment: probabilities of positive, neutral and negative; None without audio.
        ctc_text: by greedy CTC.
    """

    text: str
    score: float
    sentiment: tuple[float, float, float] | None
    ctc_text: str


def asr_config(settings: AsrSettings, front: Front, vocabulary: int) -> AsrConfig:
    """The sizes of the recipe's network on a front end."""
    encoder = ConformerConfig(
        inputs=front.config.width,
        width=settings.width,
        layers=settings.layers,
        heads=settings.heads,
        expand=settings.expand,
        kernel=settings.kernel,
        past=settings.past,
        dropout=settings.dropout,
    )
    return AsrConfig(
        vocabulary=vocabulary,
        conformer=encoder,
        layers=settings.decoder_layers,
        width=settings.decoder_width,
        heads=settings.decoder_heads,
        dropout=settings.dropout,
        ctc_share=settings.ctc_share,
        sentiment_weight=settings.sentiment_weight,
        smoothing=settings.smoothing,
        front_trainable=settings.train_front,
    )


def fit_asr(
    front: Front,
    settings: AsrSettings,
    tokens: Tokens,
    store: ClipStore,
    examples: AsrExamples,
    train: Sequence[int] | NDArray[np.int64],
    validation: Sequence[int] | NDArray[np.int64],
    seed: int,
    progress: Callable[[int, float], None],
    device: torch.device,
    notes: list[str] | None = None,
) -> AsrTone:
    """Train a recogniser on a front end.

    Args:
        front: pretrained, with the features' mean and scale set; it is copied.
        settings: the recipe's.
        tokens: of the training transcripts.
        store: clips in the order of the examples; there may be more behind.
        examples: of all clips.
        train: rows that may be learnt from; those not kept are passed over.
        validation: rows whose loss decides which weights are kept; none keeps the last.
        seed: of weights, batches and masks.
        progress: called after each step with its number and loss.
        device: where to.
        notes: takes lines for people on what happened on the way.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        DataError: nothing to learn from, or a loss that is no number.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    front = copy.deepcopy(front).cpu()
    net = AsrTone(front, asr_config(settings, front, len(tokens))).to(device).train()
    batches = AsrBatches(store, examples, tokens, examples.rows(train), settings, front)
    average = _Average(net, settings, batches.fixed(some(examples.rows(validation))))
    learning = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        learning, lr=settings.rate, weight_decay=settings.decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.rate, total_steps=max(settings.steps, 2), pct_start=0.15
    )
    short = 0
    for step in range(1, settings.steps + 1):
        features, lengths, targets = batches.draw(rng)
        losses = net(features.to(device), lengths.to(device), targets.to(device))
        short, value = short + losses.too_short, float(losses.total.detach())
        if not np.isfinite(value):
            raise DataError(
                f"the recogniser's loss is no number at step {step}: lower the rate "
                f"(now {settings.rate:g})"
            )
        optimiser.zero_grad()
        losses.total.backward()
        nn.utils.clip_grad_norm_(learning, 5.0)
        optimiser.step()
        schedule.step()
        average.follow(net, step, device)
        progress(step, value)
    if notes is not None:
        notes += average.lines
        if short:
            notes.append(
                f"{short} of {settings.steps * settings.batch} drawn transcripts did not fit into "
                "their frames: CTC passed them over"
            )
    return average.best()


class _Average:
    """The running average of a network's weights, and the one that hears validation clips best."""

    def __init__(self, net: AsrTone, settings: AsrSettings, checked: Sequence[Batch]) -> None:
        self.net, self.settings, self.checked = copy.deepcopy(net), settings, checked
        self.stops = _stops(settings) if checked else set()
        self.lines: list[str] = []
        self.lowest = float("inf")
        self.kept: dict[str, Any] | None = None

    def follow(self, net: AsrTone, step: int, device: torch.device) -> None:
        """Take in the weights after a step, and hear the validation clips if it is time."""
        follow(self.net, net, min(self.settings.average, step / (step + 20)))
        if step not in self.stops:
            return
        found = loss_of(self.net, self.checked, device)
        self.lines.append(f"loss of the validation clips after step {step}: {found:.4f}")
        if found < self.lowest:
            self.lowest, self.kept = found, copy.deepcopy(self.net.state_dict())

    def best(self) -> AsrTone:
        """The network with the weights that are kept, in evaluation mode on the CPU."""
        if self.kept is not None:
            self.net.load_state_dict(self.kept)
        return self.net.cpu().eval()


def _stops(settings: AsrSettings) -> set[int]:
    """Steps after which the validation clips are heard: evenly over the last half, the end
    included."""
    count, steps = settings.checks, settings.steps
    return {round(steps * (1.0 - 0.5 * k / count)) for k in range(count)}


def some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `_MOST_CHECKED` rows, spread evenly so that every corpus has its part."""
    if len(rows) <= _MOST_CHECKED:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _MOST_CHECKED).round().astype(np.int64)]


@torch.no_grad()
def loss_of(net: AsrTone, batches: Sequence[Batch], device: torch.device) -> float:
    """The mean loss of batches, weighted by their clips."""
    was = net.training
    net.eval()
    total = count = 0.0
    for features, lengths, targets in batches:
        loss = net(features.to(device), lengths.to(device), targets.to(device)).total
        total, count = total + float(loss) * len(features), count + len(features)
    net.train(was)
    return total / max(count, 1.0)


class AsrBatches:
    """Draws batches of clips of similar length, whole and with their transcripts."""

    def __init__(
        self,
        store: ClipStore,
        examples: AsrExamples,
        tokens: Tokens,
        rows: NDArray[np.int64],
        settings: AsrSettings,
        front: Front,
    ) -> None:
        self.store, self.settings, self.rows = store, settings, rows
        self.sentiment, self.mels = examples.sentiment, front.config.mels
        self.fill: Floats = front.mean.detach().cpu().numpy().astype(np.float32)
        self.chance = chances(examples, rows, settings)
        self._encoded: dict[int, list[int]] = {}
        self._tokens, self._texts = tokens, examples.texts
        self.waiting: list[list[tuple[int, Floats]]] = []

    def text(self, row: int) -> list[int]:
        """The tokens of a clip's transcript."""
        if row not in self._encoded:
            self._encoded[row] = self._tokens.encode(self._texts[row])
        return self._encoded[row]

    def draw(self, rng: np.random.Generator) -> Batch:
        """Features `[B, 2n, F]`, their frames before padding `[B]`, and targets."""
        if not self.waiting:
            batch = self.settings.batch
            rows = rng.choice(self.rows, batch * self.settings.pool, p=self.chance)
            clips = [(int(row), self._rendered(int(row), rng)) for row in rows]
            clips.sort(key=lambda clip: len(clip[1]))
            cut = [clips[at : at + batch] for at in range(0, len(clips), batch)]
            self.waiting = [cut[int(k)] for k in rng.permutation(len(cut))]
        clips = self.waiting.pop()
        return self._batch(clips, [self._given(row, rng) for row, _ in clips])

    def _given(self, row: int, rng: np.random.Generator) -> int:
        """What stands before a clip's words: mostly what is known of its sentiment."""
        label, chance = int(self.sentiment[row]), rng.random()
        drawn = int(rng.choice(SENTIMENT_IDS))
        if label == UNKNOWN:
            return drawn if chance < self.settings.guessed else UNKNOWN
        return UNKNOWN if chance < self.settings.hidden else label

    def fixed(self, rows: NDArray[np.int64]) -> list[Batch]:
        """Batches of clips as recorded, each once."""
        order = sorted((int(row) for row in rows), key=lambda row: self.store.lengths[row, 0])
        batch, found = self.settings.batch, []
        for at in range(0, len(order), batch):
            part = order[at : at + batch]
            clips = [(r, self.store.clip(r, 0).features.astype(np.float32)) for r in part]
            found.append(self._batch(clips, [int(self.sentiment[r]) for r in part]))
        return found

    def _batch(self, clips: Sequence[tuple[int, Floats]], given: Sequence[int]) -> Batch:
        features, lengths = padded([frames for _, frames in clips], self.fill)
        texts = [self.text(row) for row, _ in clips]
        labels = [int(self.sentiment[row]) for row, _ in clips]
        return features, lengths, asr_targets(texts, labels, given)

    def _rendered(self, row: int, rng: np.random.Generator) -> Floats:
        """A drawn variant of a clip `[2n, F]`, shifted, made louder and masked."""
        settings = self.settings
        clip = self.store.clip(row, int(rng.integers(self.store.starts.shape[1])))
        frames = transposed(
            around_speech(clip, settings.margin, rng).astype(np.float32),
            float(rng.uniform(-settings.transpose, settings.transpose)),
            bands=self.mels,
            lags_per_band=LAGS_PER_BAND,
        )
        frames[:, : self.mels] += rng.normal(0.0, settings.level_sd)
        return masked(
            frames,
            rng,
            bands=self.mels,
            fill=self.fill,
            widest_band=min(settings.widest_band, self.mels),
            longest=settings.longest_mask,
            count=settings.masks,
        )


def around_speech(clip: Clip, margin: float, rng: np.random.Generator) -> NDArray[np.float16]:
    """A clip's features from before its first speech to after its last, with one to three margins
    (s) kept on each side; the whole clip with a margin below 0 or without speech."""
    active = np.flatnonzero(clip.speech)
    if margin < 0 or not len(active):
        return clip.features
    before, after = (round(margin * x / FRAME_SECONDS) for x in rng.uniform(1.0, 3.0, 2))
    start = max(0, int(active[0]) - before)
    return clip.features[2 * start : 2 * (int(active[-1]) + 1 + after)]


def padded(clips: Sequence[Floats], fill: Floats) -> tuple[Tensor, Tensor]:
    """Clips `[2n, F]` as one array `[B, 2n, F]` with `fill` behind, and their frames `[B]`."""
    longest = max((len(clip) for clip in clips), default=0)
    features = np.tile(fill, (len(clips), longest, 1)).astype(np.float32)
    for row, clip in enumerate(clips):
        features[row, : len(clip)] = clip
    return torch.from_numpy(features), torch.tensor([len(clip) for clip in clips])


@torch.no_grad()
def decode_clips(
    net: AsrTone,
    tokens: Tokens,
    clips: Sequence[Clip],
    settings: SearchSettings | None = None,
    *,
    batch: int = 16,
) -> list[Decoded]:
    """What a network hears in whole clips.

    Clips of similar length are heard together, masked so that none hears another's padding.

    Args:
        net: in evaluation mode.
        tokens: its vocabulary.
        clips: as many as there are answers.
        settings: of the search; greedy if not given.
        batch: clips heard together.
    """
    settings = settings or SearchSettings()
    device = next(net.parameters()).device
    fill: Floats = net.front.mean.cpu().numpy()
    order = sorted(range(len(clips)), key=lambda k: len(clips[k].features))
    found: dict[int, Decoded] = {}
    for at in range(0, len(order), batch):
        part = order[at : at + batch]
        features, lengths = padded([clips[k].features.astype(np.float32) for k in part], fill)
        if not features.shape[1]:
            found.update({k: Decoded("", 0.0, None, "") for k in part})
            continue
        frames, real = net.memory(features.to(device), lengths.to(device))
        answers = search(net, frames, real, settings)
        heard = greedy_ctc(net, frames, real)
        for k, answer, by_ctc in zip(part, answers, heard, strict=True):
            text, other = tokens.decode(answer.tokens), tokens.decode(by_ctc)
            found[k] = Decoded(text, answer.score, answer.sentiment, other)
    return [found[k] for k in range(len(clips))]


def save_asr(path: Path, net: AsrTone) -> None:
    """Write a network's weights and sizes as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    facts = {"format": _FORMAT, "front": asdict(net.front.config), "asr": asdict(net.config)}
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: part.detach().cpu().contiguous() for name, part in net.state_dict().items()}
    with whole(path) as unfinished:
        save_file(state, unfinished, {"asr": json.dumps(facts)})


def load_asr(path: Path) -> AsrTone:
    """Read what `save_asr` wrote, in evaluation mode on the CPU.

    Raises:
        DataError: no such file, or none of a recogniser.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts: Any = json.loads((file.metadata() or {})["asr"])
            if facts["format"] != _FORMAT:
                raise ValueError(f"not of format {_FORMAT}")
            front = TypeAdapter(FrontConfig).validate_python(facts["front"])
            config = TypeAdapter(AsrConfig).validate_python(facts["asr"])
            _require_bounded(facts)
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            # Without memory behind it until its sizes are known to be those of the weights.
            with torch.device("meta"):
                empty = AsrTone(Front(front), config)
            expected = {name: list(part.shape) for name, part in empty.state_dict().items()}
            if shapes != expected:
                raise ValueError("weights of other sizes than it says")
            state = {name: file.get_tensor(name) for name in shapes}
        net = AsrTone(Front(front), config)
        net.load_state_dict(state)
    except (*_DAMAGE, SafetensorError) as error:
        raise DataError(
            f"{path}: no weights of a recogniser ({error}); delete it and train again"
        ) from error
    return net.eval()


def _require_bounded(facts: Any) -> None:
    """That no size in a file's configuration is out of all proportion.

    Raises:
        ValueError: one is.
    """
    for name, part in facts.items():
        if isinstance(part, dict):
            _require_bounded(part)
        values = part if isinstance(part, list) else [part]
        numbers = [value for value in values if isinstance(value, int | float)]
        most = _MOST_LAYERS if name == "layers" else _MOST_SIZE
        least = int(name in _SIZES)
        if len(values) > _MOST_LAYERS or any(not least <= value <= most for value in numbers):
            raise ValueError("sizes out of range")
