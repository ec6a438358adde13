"""The compact streaming tone network.

A causal convolutional encoder turns spectral features into one vector per 31.25 ms frame, with
its left context carried as explicit state, so that each second is encoded once. A head pools the
frames of a window by attentive statistics (Okabe et al., Interspeech 2018) into sentiment and
emotion.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.models.conformer import Conformer, ConformerConfig
from voicetone.models.front import Front, FrontConfig


@dataclass(frozen=True)
class ToneConfig(FrontConfig):
    """Sizes of the network."""

    heads: int = 4
    """Attention heads of the pooling."""
    hidden: int = 128
    """Units between pooling and the outputs."""
    sentiments: int = 3
    emotions: int = 8
    conformer: ConformerConfig | None = None
    """What else encodes the front end's frames; nothing if None."""

    @property
    def frame(self) -> int:
        """Values per encoded frame."""
        return self.width if self.conformer is None else self.conformer.width

    @property
    def state_size(self) -> int:
        """Numbers of carried state per stream."""
        more = 0 if self.conformer is None else self.conformer.state_size
        return sum(self.state_sizes) + more


class Presence(nn.Module):
    """Frames `[B, width, n]` → logits of speech `[B, n]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, 64, 1)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Conv1d(64, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One logit for each frame."""
        logit: Tensor = self.out(self.dropout(F.relu(self.mix(x))))[:, 0]
        return logit


class Encoder(nn.Module):
    """Features `[B, 2n, F]` → frames `[B, n, frame + 1]`, whose last value damps pauses in the
    head's attention, and speech presence by a light classifier that is trained afterwards on the
    frozen encoder."""

    def __init__(self, config: ToneConfig) -> None:
        super().__init__()
        self.split = [sum(config.state_sizes), config.state_size - sum(config.state_sizes)]
        self.front = Front(config)
        self.conformer = None if config.conformer is None else Conformer(config.conformer)
        self.speech = nn.Conv1d(config.frame, 1, 1)
        with torch.random.fork_rng(devices=[]):
            # Drawn aside: what is trained first doesn't depend on what is trained afterwards.
            self.presence = Presence(config.frame)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One stretch of a stream.

        Args:
            features: `[B, 2n, F]`.
            state: `[B, state_size]`, zeros at the start.

        Returns:
            frames `[B, n, frame + 1]`, speech probability `[B, n]`, state `[B, state_size]`.
        """
        if self.conformer is None:
            x, state = self.front(features, state)
        else:
            before, above = torch.split(state, self.split, dim=1)
            x, before = self.front(features, before)
            encoded, above = self.conformer(x, above)
            x, state = encoded.transpose(1, 2), torch.cat([before, above], dim=1)
        frames = torch.cat([x, self.speech(x)], dim=1).transpose(1, 2)
        return frames, torch.sigmoid(self.presence(x)), state


class Head(nn.Module):
    """The frames of a window → logits of sentiment and emotion."""

    def __init__(self, config: ToneConfig) -> None:
        super().__init__()
        self.heads = config.heads
        width = config.frame
        self.attend = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, config.heads))
        self.norm = nn.BatchNorm1d(2 * width)
        self.mix = nn.Linear(2 * width, config.hidden)
        self.dropout = nn.Dropout(2 * config.dropout)
        self.sentiment = nn.Linear(config.hidden, config.sentiments)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element")  # sentiments alone
            self.emotion = nn.Linear(config.hidden, config.emotions)

    def forward(self, frames: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Pool and classify.

        Args:
            frames: `[B, n, frame + 1]` of the encoder.
            weight: `[B, n]`, 1 for a frame of audio and 0 for padding.

        Returns:
            logits `[B, sentiments]` and `[B, emotions]`.
        """
        x, logit = frames[..., :-1], frames[..., -1:]
        # Pauses don't vote: attention is damped by the frame's own probability of speech.
        score = self.attend(x) - F.softplus(-logit) + (weight.unsqueeze(2) - 1.0) * 30.0
        share = torch.softmax(score, dim=1)  # [B, n, heads]
        grouped = x.reshape(x.shape[0], x.shape[1], self.heads, -1)  # [B, n, heads, width / heads]
        share = share.unsqueeze(3)
        mean = (share * grouped).sum(dim=1)
        spread = (share * (grouped - mean.unsqueeze(1)) ** 2).sum(dim=1)
        pooled = torch.cat([mean.flatten(1), (spread + 1e-5).sqrt().flatten(1)], dim=1)
        hidden = F.relu(self.mix(self.dropout(self.norm(pooled))))
        hidden = self.dropout(hidden)
        return self.sentiment(hidden), self.emotion(hidden)


class ToneNet(nn.Module):
    """Encoder and head, trained together."""

    def __init__(self, config: ToneConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.head = Head(config)

    def forward(self, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whole clips `[B, 2n, F]` with `weight` `[B, n]` → sentiment logits, emotion logits
        and the logits of speech `[B, n]` that the attention uses."""
        frames, _, _ = self.encoder(
            features, features.new_zeros(len(features), self.config.state_size)
        )
        sentiment, emotion = self.head(frames, weight)
        return sentiment, emotion, frames[..., -1]


@dataclass(frozen=True, slots=True)
class ToneTargets:
    """What a batch should give. Unknown labels have weight zero.

    `emotion_allowed` `[B, emotions]` is 1 for the emotions that the clip's corpus labels:
    a corpus without `calm` can't say that its neutral clips aren't calm.
    """

    sentiment: Tensor
    sentiment_weight: Tensor
    emotion: Tensor
    emotion_weight: Tensor
    emotion_allowed: Tensor
    speech: Tensor
    frame_weight: Tensor


def tone_loss(
    sentiment: Tensor,
    emotion: Tensor,
    speech: Tensor,
    targets: ToneTargets,
    *,
    smoothing: float,
    sentiment_share: float = 0.5,
    speech_share: float = 0.5,
) -> Tensor:
    """Cross-entropies of emotion, sentiment and frame-wise speech, weighted and summed."""
    by_sentiment = F.cross_entropy(
        sentiment, targets.sentiment, reduction="none", label_smoothing=smoothing
    )
    sentiment_loss = _mean(by_sentiment, targets.sentiment_weight)
    by_frame = F.binary_cross_entropy_with_logits(speech, targets.speech, reduction="none")
    speech_loss = _mean(by_frame, targets.frame_weight)
    if not emotion.shape[1]:  # sentiments are all that there is
        return sentiment_loss + speech_share * speech_loss
    masked = emotion.masked_fill(targets.emotion_allowed == 0, -30.0)
    log_p = F.log_softmax(masked, dim=1)
    count = targets.emotion_allowed.sum(1, keepdim=True).clamp(min=1)  # none: sentiments alone
    even = targets.emotion_allowed / count
    hit = F.nll_loss(log_p, targets.emotion, reduction="none")
    spread = -(even * log_p).sum(1)
    by_emotion = (1 - smoothing) * hit + smoothing * spread
    emotion_loss = _mean(by_emotion, targets.emotion_weight)
    return emotion_loss + sentiment_share * sentiment_loss + speech_share * speech_loss


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
