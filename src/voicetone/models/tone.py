"""The compact streaming tone network.

A causal convolutional encoder turns spectral features into one vector per 31.25 ms frame, with
its left context carried as explicit state, so that each second is encoded once. A head pools the
frames of a window by attentive statistics (Okabe et al., Interspeech 2018) into sentiment and
emotion. The blocks are depth-wise convolutions with a pointwise bottleneck in the manner of
ConvNeXt (Liu et al., CVPR 2022), with batch normalisation so that they fold at inference.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class ToneConfig:
    """Sizes of the network."""

    mels: int = 64
    """Mel bands at the front of a feature frame; a multiple of 4."""
    lags: int = 40
    """Values of the pitch map behind them."""
    stem: tuple[int, int] = (16, 32)
    """Channels of the two time-frequency convolutions."""
    width: int = 192
    """Channels of the encoder."""
    expand: int = 2
    """Pointwise expansion inside a block."""
    kernel: int = 7
    """Frames seen by a depth-wise convolution."""
    dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    """One block per entry."""
    heads: int = 4
    """Attention heads of the pooling."""
    hidden: int = 128
    """Units between pooling and the outputs."""
    dropout: float = 0.2
    sentiments: int = 3
    emotions: int = 8

    @property
    def state_size(self) -> int:
        """Numbers of carried state per stream."""
        return sum(self.state_sizes)

    @property
    def features(self) -> int:
        """Values per feature frame."""
        return self.mels + self.lags

    @property
    def state_sizes(self) -> list[int]:
        """The parts of the state: past feature frames, past stem frames, past block inputs."""
        blocks = [self.width * (self.kernel - 1) * d for d in self.dilations]
        return [2 * self.features, 2 * self.stem[0] * (self.mels // 2), *blocks]


class Block(nn.Module):
    """Depth-wise causal convolution, then a pointwise bottleneck, with a residual path."""

    def __init__(self, config: ToneConfig, dilation: int) -> None:
        super().__init__()
        self.past = (config.kernel - 1) * dilation
        width = config.width
        self.depthwise = nn.Conv1d(
            width, width, config.kernel, dilation=dilation, groups=width, bias=False
        )
        self.norm = nn.BatchNorm1d(width)
        self.expand = nn.Conv1d(width, width * config.expand, 1)
        self.contract = nn.Conv1d(width * config.expand, width, 1)
        # Whole channels of a clip: element-wise masks cost a third of a training step on a CPU.
        self.dropout = nn.Dropout1d(config.dropout)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`x` `[B, C, n]` and the `past` inputs `[B, C, p]` → outputs and the new past."""
        seen = torch.cat([past, x], dim=2)
        y = self.norm(self.depthwise(seen))
        y = self.contract(self.dropout(F.relu(self.expand(y))))
        return x + y, seen[:, :, -self.past :]


class Stem(nn.Module):
    """Two causal time-frequency convolutions on the mel bands, joined by the pitch map.

    Local filters that slide along the mel axis carry what they learn of one voice's harmonics
    and formants to a higher or lower voice. Time is halved, the mel axis quartered.
    """

    def __init__(self, config: ToneConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.stem
        self.conv1 = nn.Conv2d(1, first, (4, 5), stride=2, padding=(0, 2), bias=False)
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, (3, 5), stride=(1, 2), padding=(0, 2), bias=False)
        self.norm2 = nn.BatchNorm2d(second)
        joined = second * (config.mels // 4) + 2 * config.lags
        self.join = nn.Conv1d(joined, config.width, 1, bias=False)
        self.norm = nn.BatchNorm1d(config.width)
        self.dropout = nn.Dropout2d(config.dropout / 2)

    def forward(self, x: Tensor, past1: Tensor, past2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x` `[B, 2n, F]`, past features `[B, 2, F]` and past maps `[B, C1, 2, mels / 2]` →
        `[B, width, n]` and the new pasts."""
        mels = self.config.mels
        seen = torch.cat([past1, x], dim=1)
        y = F.relu(self.norm1(self.conv1(seen[:, :, :mels].unsqueeze(1))))
        maps = torch.cat([past2, y], dim=2)
        z = self.dropout(F.relu(self.norm2(self.conv2(maps))))  # [B, C2, n, mels / 4]
        z = z.transpose(2, 3).flatten(1, 2)
        pitch = x[:, :, mels:].reshape(x.shape[0], -1, 2 * self.config.lags).transpose(1, 2)
        out = F.relu(self.norm(self.join(torch.cat([z, pitch], dim=1))))
        return out, seen[:, -2:], maps[:, :, -2:]


class Presence(nn.Module):
    """Frames `[B, width, n]` → logits of speech `[B, n]`."""

    def __init__(self, config: ToneConfig) -> None:
        super().__init__()
        self.mix = nn.Conv1d(config.width, 64, 1)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Conv1d(64, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One logit for each frame."""
        logit: Tensor = self.out(self.dropout(F.relu(self.mix(x))))[:, 0]
        return logit


class Encoder(nn.Module):
    """Features `[B, 2n, F]` → frames `[B, n, width + 1]`, whose last value damps pauses in the
    head's attention, and speech presence by a light classifier that is trained afterwards on the
    frozen encoder."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ToneConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))
        self.stem = Stem(config)
        self.blocks = nn.ModuleList(Block(config, d) for d in config.dilations)
        self.out_norm = nn.BatchNorm1d(config.width)
        self.speech = nn.Conv1d(config.width, 1, 1)
        with torch.random.fork_rng(devices=[]):
            # Drawn aside: what is trained first doesn't depend on what is trained afterwards.
            self.presence = Presence(config)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One stretch of a stream.

        Args:
            features: `[B, 2n, F]`.
            state: `[B, state_size]`, zeros at the start.

        Returns:
            frames `[B, n, width + 1]`, speech probability `[B, n]`, state `[B, state_size]`.
        """
        config = self.config
        x = (features - self.mean) * self.scale
        frames_past, maps_past, *pasts = torch.split(state, config.state_sizes, dim=1)
        x, frames_new, maps_new = self.stem(
            x,
            frames_past.reshape(x.shape[0], 2, config.features),
            maps_past.reshape(x.shape[0], config.stem[0], 2, config.mels // 2),
        )
        news = [frames_new.flatten(1), maps_new.flatten(1)]
        for block, past in zip(self.blocks, pasts, strict=True):
            x, new = block(x, past.reshape(x.shape[0], config.width, -1))
            news.append(new.flatten(1))
        x = self.out_norm(x)
        logit = self.speech(x)
        frames = torch.cat([x, logit], dim=1).transpose(1, 2)
        return frames, torch.sigmoid(self.presence(x)), torch.cat(news, dim=1)


class Head(nn.Module):
    """The frames of a window → logits of sentiment and emotion."""

    def __init__(self, config: ToneConfig) -> None:
        super().__init__()
        self.heads = config.heads
        width = config.width
        self.attend = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, config.heads))
        self.norm = nn.BatchNorm1d(2 * width)
        self.mix = nn.Linear(2 * width, config.hidden)
        self.dropout = nn.Dropout(2 * config.dropout)
        self.sentiment = nn.Linear(config.hidden, config.sentiments)
        self.emotion = nn.Linear(config.hidden, config.emotions)

    def forward(self, frames: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Pool and classify.

        Args:
            frames: `[B, n, width + 1]` of the encoder.
            weight: `[B, n]`, 1 for a frame of audio and 0 for padding.

        Returns:
            logits `[B, sentiments]` and `[B, emotions]`.
        """
        x, logit = frames[..., :-1], frames[..., -1:]
        # Pauses don't vote: attention is damped by the frame's own probability of speech.
        score = self.attend(x) + F.logsigmoid(logit) + (weight.unsqueeze(2) - 1.0) * 30.0
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
        state = features.new_zeros(len(features), self.config.state_size)
        frames, _, _ = self.encoder(features, state)
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
    masked = emotion.masked_fill(targets.emotion_allowed == 0, -30.0)
    log_p = F.log_softmax(masked, dim=1)
    even = targets.emotion_allowed / targets.emotion_allowed.sum(1, keepdim=True)
    hit = F.nll_loss(log_p, targets.emotion, reduction="none")
    spread = -(even * log_p).sum(1)
    by_emotion = (1 - smoothing) * hit + smoothing * spread
    emotion_loss = _mean(by_emotion, targets.emotion_weight)
    by_sentiment = F.cross_entropy(
        sentiment, targets.sentiment, reduction="none", label_smoothing=smoothing
    )
    sentiment_loss = _mean(by_sentiment, targets.sentiment_weight)
    by_frame = F.binary_cross_entropy_with_logits(speech, targets.speech, reduction="none")
    speech_loss = _mean(by_frame, targets.frame_weight)
    return emotion_loss + sentiment_share * sentiment_loss + speech_share * speech_loss


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
