"""One training of the tone network, and what it says of clips afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voicetone.features.spectral import SpectralConfig
from voicetone.models.tone import ToneConfig, ToneNet, ToneTargets, tone_loss
from voicetone.training.front_recipe import front_config
from voicetone.training.tone_batches import Batches, Labels
from voicetone.training.tone_data import Clip, ClipStore, normalisation
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.types import SENTIMENTS, Floats


def tone_config(recipe: ToneRecipe, emotions: int) -> ToneConfig:
    """The sizes of a recipe's network without what stands on its front end."""
    own = recipe.network
    return ToneConfig(
        **asdict(front_config(own, SpectralConfig())),
        heads=own.heads,
        hidden=own.hidden,
        emotions=emotions,
        sentiments=len(SENTIMENTS),
    )


def fit(
    recipe: ToneRecipe,
    store: ClipStore,
    labels: Labels,
    train: NDArray[np.int64],
    seed: int,
    progress: Callable[[int, float], None],
    device: torch.device,
    config: ToneConfig | None = None,
) -> ToneNet:
    """Train from scratch on the clips `train` and the store's noise.

    Args:
        recipe: the settings.
        store: clips in the order of `labels`, then noise.
        labels: of all clips.
        train: indices of the clips that may be learnt from.
        seed: of weights, batches and masks.
        progress: called after each step with its number and loss.
        device: where to.
        config: sizes of the network; the recipe's if not given.

    Returns:
        The running average of the weights, in evaluation mode, on the CPU.
    """
    torch.manual_seed(seed)
    net = ToneNet(config or tone_config(recipe, len(labels.emotions)))
    net.encoder.front.normalise(*normalisation(store, train))
    return fit_net(net.to(device).train(), recipe, store, labels, train, seed, progress)


def fit_net(
    net: ToneNet,
    recipe: ToneRecipe,
    store: ClipStore,
    labels: Labels,
    train: NDArray[np.int64],
    seed: int,
    progress: Callable[[int, float], None],
) -> ToneNet:
    """Train what of a network wants gradients; see `fit`.

    Args:
        net: normalised for the clips, on its device, each part in the mode that it is to keep.
        recipe: the settings.
        store: clips in the order of `labels`, then noise.
        labels: of all clips.
        train: indices of the clips that may be learnt from.
        seed: of batches and masks.
        progress: called after each step with its number and loss.
    """
    rng = np.random.default_rng(seed)
    front, average = net.encoder.front, copy.deepcopy(net)
    fill, device = front.mean.cpu().numpy().astype(np.float32), front.mean.device
    batches = Batches(store, labels, train, recipe, SpectralConfig(), fill)

    def loss_of(_: int, features: Tensor, weight: Tensor, targets: ToneTargets) -> Tensor:
        sentiment, emotion, speech = net(features, weight)
        return tone_loss(sentiment, emotion, speech, targets, smoothing=recipe.smoothing)

    groups = [{"params": [p for p in net.parameters() if p.requires_grad], "lr": recipe.rate}]
    descend(net, average, groups, recipe, lambda: batches.draw(rng, device), loss_of, progress)
    return average.cpu().eval()


def descend(
    net: ToneNet,
    average: ToneNet,
    groups: Sequence[dict[str, Any]],
    recipe: ToneRecipe,
    draw: Callable[[], tuple[Tensor, Tensor, ToneTargets]],
    loss_of: Callable[[int, Tensor, Tensor, ToneTargets], Tensor],
    progress: Callable[[int, float], None],
) -> None:
    """All steps of a training: AdamW, a one-cycle schedule of rates, a running average.

    Args:
        net: what learns.
        average: a copy of it, which becomes the running average of its weights.
        groups: of parameters, each with `params` and its peak rate `lr`.
        recipe: the settings.
        draw: a batch: features, frame weights, targets.
        loss_of: the loss of a step's batch.
        progress: called after each step with its number and loss.
    """
    optimiser = torch.optim.AdamW(groups, weight_decay=recipe.decay, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [g["lr"] for g in groups], total_steps=recipe.steps, pct_start=0.15
    )
    for step in range(1, recipe.steps + 1):
        loss = loss_of(step, *draw())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        follow(average, net, min(recipe.average, step / (step + 20)))
        progress(step, float(loss.detach()))


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move a running average of weights towards the new ones."""
    pairs = zip(average.state_dict().values(), net.state_dict().values(), strict=True)
    for kept, new in pairs:
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1.0 - decay)
        else:
            kept.copy_(new)


def fit_presence(
    net: ToneNet, recipe: ToneRecipe, store: ClipStore, train: NDArray[np.int64], seed: int
) -> None:
    """Train the speech classifier of a trained network in place, its encoder frozen.

    Two thirds of each batch of frames are noise: what must not be taken for speech is more
    various than what must, and the first training hears little of it.
    """
    rng = np.random.default_rng([seed, 1])
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    speech = rng.choice(train, min(recipe.speech_clips, len(train)), replace=False)
    variants = store.starts.shape[1]
    drawn = [(int(clip), int(rng.integers(variants))) for clip in speech]
    noises = range(len(store.starts) - recipe.noise_clips, len(store.starts))
    frames, labels = _frames(net, store, drawn)
    noise, _ = _frames(net, store, [(clip, v) for clip in noises for v in range(variants)])
    presence = net.encoder.presence.train()
    optimiser = torch.optim.AdamW(presence.parameters(), lr=3e-3, weight_decay=0.05)
    for _ in range(recipe.speech_steps):
        heard = torch.randint(len(frames), (1024,), generator=generator)
        unheard = torch.randint(len(noise), (2048,), generator=generator)
        x = torch.cat([frames[heard], noise[unheard]])
        truth = torch.cat([labels[heard], torch.zeros(len(unheard))])
        x = x + 0.1 * torch.randn(x.shape, generator=generator)
        loss = nn.functional.binary_cross_entropy_with_logits(presence(x.T[None])[0], truth)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    net.eval()


@torch.no_grad()
def _frames(
    net: ToneNet, store: ClipStore, clips: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """The encoder's frames `[n, width]` of clips in their variants, and the labels `[n]`."""
    frames, labels = [], []
    for clip in (store.clip(*place) for place in clips):
        features = torch.from_numpy(clip.features.astype(np.float32))[None]
        state = torch.zeros(1, net.config.state_size)
        frames.append(net.encoder(features, state)[0][0, :, :-1])
        labels.append(torch.from_numpy(clip.speech.astype(np.float32)))
    return torch.cat(frames), torch.cat(labels)


@torch.no_grad()
def logits_of(net: ToneNet, clips: Sequence[Clip]) -> tuple[Floats, Floats, list[Floats]]:
    """What a network says of whole clips, one at a time so that none sees another's padding.

    Returns:
        sentiment logits `[n, 3]`, emotion logits `[n, emotions]`, and for each clip the
        probability of speech per frame.
    """
    sentiments, emotions, speech = [], [], []
    for clip in clips:
        features = torch.from_numpy(clip.features.astype(np.float32))[None]
        frames, presence, _ = net.encoder(features, torch.zeros(1, net.config.state_size))
        sentiment, emotion = net.head(frames, torch.ones(1, len(clip.speech)))
        sentiments.append(sentiment[0].numpy())
        emotions.append(emotion[0].numpy())
        speech.append(presence[0].numpy())
    return np.stack(sentiments), np.stack(emotions), speech
