"""One pretraining of the front end, what it says of audio it did not learn from, and its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voicetone.errors import DataError
from voicetone.models.best_rq import BestRq, BestRqConfig, Guesses, hidden_frames, whitening_of
from voicetone.models.front import Front, FrontConfig
from voicetone.training.pretrain_recipe import PretrainSettings
from voicetone.training.pretrain_state import load_state, save_state
from voicetone.training.tone_data import ClipStore, normalisation
from voicetone.types import Floats

Rows = NDArray[np.int64]
_MASKS = 1  # beside the seed: what draws the masks of the held-out audio
_SETTLE = 2


def best_rq_config(settings: PretrainSettings) -> BestRqConfig:
    """The network's part of the settings."""
    return BestRqConfig(
        codes=settings.codes,
        codebooks=settings.codebooks,
        dimension=settings.dimension,
        pitch=settings.pitch,
        mask_chance=settings.mask_chance,
        mask_span=settings.mask_span,
        noise=settings.noise,
        context=settings.context,
        context_layers=settings.context_layers,
        context_width=settings.context_width,
    )


def pretrain(
    config: FrontConfig,
    settings: PretrainSettings,
    store: ClipStore,
    train: Rows,
    validation: Rows,
    seed: int,
    progress: Callable[[int, float], None],
    device: torch.device,
    *,
    state: Path | None = None,
    save_every: int = 100,
) -> tuple[Front, dict[str, Any]]:
    """Pretrain a front end from scratch.

    Every step draws from a generator of its own, made from the seed and the step's number, so a
    training that goes on from `state` gives what it would have given uninterrupted.

    Args:
        config: sizes of the front end.
        settings: of the pretraining.
        store: rendered clips.
        train: rows of the store that may be learnt from.
        validation: rows that the metrics are taken on, in variant 0; there may be none.
        seed: of weights, quantiser, batches and masks.
        progress: called after each step with its number and loss.
        device: where to.
        state: a file that keeps the training every `save_every` steps, and that it goes on from.
        save_every: steps.

    Returns:
        The front end on the CPU in evaluation mode, its normalisation that of the training clips,
        and metrics: see `held_out_metrics`, with the loss at the start and the end.

    Raises:
        DataError: nothing to learn from, a state of another training, or a loss that is no number.
    """
    if not store.lengths[train].any():
        raise DataError("pretraining: no audio to learn from; name more recordings")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        net = new_network(config, settings, store, train, seed).to(device)
        losses = _train(net, settings, store, train, seed, progress, state, save_every)
        net = net.cpu().eval()
        front, few = net.front, max(1, len(losses) // 20)
        metrics = {
            "steps": settings.steps,
            "parameters": sum(p.numel() for p in front.parameters()),
            "first_loss": float(np.mean(losses[:few])),
            "last_loss": float(np.mean(losses[-few:])),
            # Of audio with gaps, and so before the front end is settled on audio without.
            **held_out_metrics(net, store, validation, seed),
        }
        if settings.settle:
            settle(front, settings, store, train, seed)
    return front.eval().requires_grad_(False), metrics


def new_network(
    config: FrontConfig, settings: PretrainSettings, store: ClipStore, train: Rows, seed: int
) -> BestRq:
    """The untrained network, normalised for the training clips. Sets torch's own generator."""
    torch.manual_seed(seed)
    front = Front(config)
    mean, spread = normalisation(store, train)
    front.normalise(mean, spread)
    generator = torch.Generator().manual_seed(seed)
    whitening = None
    if settings.whiten:
        heard = slice(0, config.features if settings.pitch else config.mels)
        covariance = _covariance(store, train, mean[heard], spread[heard])
        whitening = whitening_of(torch.from_numpy(covariance), settings.whiten)
    return BestRq(front, best_rq_config(settings), generator, whitening)


def _covariance(store: ClipStore, train: Rows, mean: Floats, spread: Floats) -> NDArray[np.float64]:
    """Of the normalised frames of the training clips as recorded, `[2 F, 2 F]`: the two feature
    frames of a frame side by side, the first F features of each."""
    total, count = np.zeros((2 * len(mean), 2 * len(mean))), 0
    for row in train:
        features = store.clip(int(row), 0).features[:, : len(mean)]
        frames = ((features - mean) / spread).reshape(-1, 2 * len(mean))
        total += frames.T @ frames
        count += len(frames)
    return total / max(count, 1)


def _train(
    net: BestRq,
    settings: PretrainSettings,
    store: ClipStore,
    train: Rows,
    seed: int,
    progress: Callable[[int, float], None],
    state: Path | None,
    save_every: int,
) -> list[float]:
    """Train in place; the losses of all steps."""
    trained = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        trained, lr=settings.rate, weight_decay=settings.decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.rate, total_steps=settings.steps, pct_start=0.15
    )
    told = _identity(net, settings, train, seed)
    losses = load_state(state, net, optimiser, schedule, told) if state else []
    device = net.front.mean.device
    net.train()
    for step in range(len(losses) + 1, settings.steps + 1):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(int(rng.integers(2**62)))
        features = batch(store, rng, train, settings)
        hidden = hidden_frames(
            rng, len(features), settings.frames // 2, settings.mask_chance, settings.mask_span
        )
        guesses = _guess(net, features, hidden, device)
        loss = guesses.loss
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise DataError(
                f"pretraining: the loss is no number at step {step}; lower the learning rate"
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 5.0)
        optimiser.step()
        schedule.step()
        progress(step, losses[-1])
        if state and (step % save_every == 0 or step == settings.steps):
            save_state(state, net, optimiser, schedule, losses, told)
    return losses


def _identity(net: BestRq, settings: PretrainSettings, train: Rows, seed: int) -> str:
    """What a kept state must be of, for this training to go on from it."""
    facts = [asdict(net.front.config), asdict(settings), seed, [int(row) for row in train]]
    return json.dumps([*facts, net.front.mean.cpu().tolist()])


def _guess(
    net: BestRq, features: Floats, hidden: NDArray[np.bool_], device: torch.device
) -> Guesses:
    """The network's guesses, the noise drawn from torch's generator on the CPU."""
    noise = torch.randn(features.shape)
    x, gaps = torch.from_numpy(features).to(device), torch.from_numpy(hidden).to(device)
    guesses: Guesses = net(x, gaps, noise.to(device))
    return guesses


def batch(
    store: ClipStore, rng: np.random.Generator, rows: Rows, settings: PretrainSettings
) -> Floats:
    """A batch `[B, frames, F]` of crops of drawn variants; after a short clip comes another, so
    that nothing is padded and nothing computed in vain.

    Clips longer than a crop are drawn more often, so that any second is about as likely as any
    other.

    Args:
        store: rendered clips.
        rng: what everything is drawn from.
        rows: clips to draw from.
        settings: sizes.
    """
    chance = np.maximum(store.lengths[rows, 0], settings.frames).astype(np.float64)
    chance /= chance.sum()
    variants = store.starts.shape[1]
    features = np.empty((settings.batch, settings.frames, store.features.shape[1]), np.float32)
    for row in features:
        filled = 0
        while filled < len(row):
            clip = int(rng.choice(rows, p=chance))
            frames = store.clip(clip, int(rng.integers(variants))).features
            spare = max(0, (len(frames) - len(row)) // 2)
            start = 2 * int(rng.integers(spare + 1))
            part = frames[start : start + len(row) - filled]
            row[filled : filled + len(part)] = part
            filled += len(part)
    return features


@torch.no_grad()
def settle(
    front: Front, settings: PretrainSettings, store: ClipStore, train: Rows, seed: int
) -> None:
    """Take the statistics of batch normalisation anew from audio without gaps, in place.

    While it learns, much of what the network hears is noise in place of features; it is used on
    whole audio. Dropout is off, as it is then.
    """
    norms = [m for m in front.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    before = [m.momentum for m in norms]
    front.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    rng = np.random.default_rng([seed, 0, _SETTLE])
    for _ in range(settings.settle):
        x = torch.from_numpy(batch(store, rng, train, settings)).to(front.mean.device)
        front(x, front.start(len(x)))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()


@torch.no_grad()
def held_out_metrics(net: BestRq, store: ClipStore, rows: Rows, seed: int) -> dict[str, Any]:
    """How well hidden frames of held-out clips are named, and how the codes are used.

    Args:
        net: on the CPU, in evaluation mode.
        store: rendered clips; variant 0 is judged, one clip at a time.
        rows: clips that were not learnt from.
        seed: of masks and noise.

    Returns:
        `codes`: share of the codes that occur and perplexity, mean over codebooks. `masked`: share
        of the hidden frames named right, beside always saying the most frequent code of the hidden
        frames and saying the last code before the gap; `loss` in nats. Empty without clips.
    """
    rows = rows[store.lengths[rows, 0] > 0]
    if not len(rows):
        return {}
    config = net.config
    counts = np.zeros((config.codebooks, config.codes), dtype=np.int64)
    truths = np.zeros_like(counts)
    right = repeated = loss = 0.0
    for row in rows:
        rng = np.random.default_rng([seed, int(row), _MASKS])
        features = store.clip(int(row), 0).features.astype(np.float32)[None]
        hidden = hidden_frames(rng, 1, features.shape[1] // 2, config.mask_chance, config.mask_span)
        torch.manual_seed(int(rng.integers(2**62)))
        guesses = _guess(net, features, hidden, torch.device("cpu"))
        right += float((guesses.logits.argmax(2) == guesses.truth).sum())
        loss += float(guesses.loss) * len(guesses.truth)
        codes = guesses.codes[0].numpy()
        repeated += float(_repeats(codes, hidden[0]))
        for book in range(config.codebooks):
            counts[book] += np.bincount(codes[:, book], minlength=config.codes)
            truths[book] += np.bincount(guesses.truth[:, book], minlength=config.codes)
    said = float(truths.sum())
    return {
        "codes": code_use(counts),
        "masked": {
            "frames": int(truths[0].sum()),
            "accuracy": right / said,
            "most_frequent": float(truths.max(axis=1).sum()) / said,
            "repeat_last": repeated / said,
            "loss": loss / float(truths[0].sum()),
        },
    }


def code_use(counts: NDArray[np.int64]) -> dict[str, float]:
    """Share of the codes that occur and perplexity, means over codebooks of `counts`
    `[codebooks, codes]`."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    return {
        "used": float((counts > 0).mean()),
        "perplexity": float(np.exp(entropy).mean()),
    }


def _repeats(codes: NDArray[np.int64], hidden: NDArray[np.bool_]) -> int:
    """How many hidden frames have the code of the last frame before their gap; those of a gap at
    the start of a clip have none."""
    last = np.maximum.accumulate(np.where(hidden, -1, np.arange(len(hidden))))
    asked = np.flatnonzero(hidden & (last >= 0))
    return int((codes[asked] == codes[last[asked]]).sum())


def pooled(front: Front, features: Sequence[NDArray[np.float16]]) -> Floats:
    """Mean and standard deviation over the frames of each clip `[clips, 2 * width]`, one clip at
    a time so that none sees another's padding.

    Args:
        front: on the CPU, in evaluation mode.
        features: `[2n, F]` each.
    """
    out = []
    with torch.no_grad():
        for clip in features:
            x = torch.from_numpy(np.asarray(clip, dtype=np.float32))[None]
            frames = front(x, front.start(1))[0][0].numpy()
            out.append(np.concatenate([frames.mean(axis=1), frames.std(axis=1)]))
    return np.stack(out).astype(np.float32)
