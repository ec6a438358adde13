"""Self-supervised speech models as front ends of networks, frozen or trained further: wav2vec 2.0
(Baevski et al., NeurIPS 2020), XLS-R (Babu et al., Interspeech 2022), HuBERT (Hsu et al., TASLP
2021), WavLM (Chen et al., JSTSP 2022) and Whisper's encoder (Radford et al., ICML 2023).

A batch gives each utterance what it gives alone. `voicetone.training.ssl_export` writes a graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.audio.units import SAMPLE_RATE
from voicetone.errors import AudioError, DataError, MissingExtraError
from voicetone.features.ssl import keep_layers, log_mel, open_network
from voicetone.features.ssl_source import Source, source
from voicetone.language.hub import pinned
from voicetone.models.ssl_parts import MaskedGroupNorm, before, normalised, spans

Hook = Callable[..., Any]
_WANTED = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")


@dataclass(frozen=True)
class SslConfig:
    """Which model, and what of it is used and trained."""

    model: str
    """A folder, or NAME@REVISION of the hub."""
    layer: int | None = None
    """Which hidden state; 0 is before the first layer. None weighs all of them by learned weights,
    as in SUPERB (Yang et al., Interspeech 2021, section 3.2)."""
    normalise_states: bool = False
    """Weigh hidden states that are normalised over their values: deep ones are far larger."""
    trainable: bool = False
    """Train the network further; else only weights of layers, if any, are learned."""
    mask_time: float | None = None
    """Share of frames in masked spans while training; None takes the model's own."""
    mask_feature: float | None = None
    """Share of values (mel bands of Whisper) in masked spans while training; None as above."""
    seed: int = 0
    """Of the masks."""

    def __post_init__(self) -> None:
        for name in ("mask_time", "mask_feature"):
            share = getattr(self, name)
            if share is not None and not 0.0 <= share < 1.0:
                raise DataError(f"{name} = {share} masks no share of an utterance: give 0 to 1")


class SslFront(nn.Module):
    """Samples → frames.

    Args:
        config: what is used.
        found: the folder.
        network: its network, as `open_network` gives it.

    Raises:
        DataError: there is no such hidden state.
    """

    def __init__(self, config: SslConfig, found: Source, network: Any) -> None:
        super().__init__()
        self.config, self.found = config, found
        self.generator = torch.Generator().manual_seed(config.seed)
        """Of the masks; on the processor wherever the network is."""
        if config.layer is None:
            self.mix = nn.Parameter(torch.zeros(found.layers + 1))
        else:
            found.require_layer(config.layer)
            keep_layers(found, network, config.layer)
        self.network = network
        self._norm: MaskedGroupNorm | None = None
        if not found.whisper and found.config.get("feat_extract_norm", "group") == "group":
            first = network.feature_extractor.conv_layers[0]
            self._norm = first.layer_norm = MaskedGroupNorm(first.layer_norm)
        self._trained_layers: int | None = 0
        if config.trainable:
            self.unfreeze()
        else:
            self.freeze()

    @property
    def size(self) -> int:
        """Values of a frame."""
        return self.found.size

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return SAMPLE_RATE / self.found.hop

    def frames_of(self, lengths: Tensor) -> Tensor:
        """How many frames utterances of so many samples have."""
        if self.found.whisper:
            return torch.div(lengths + self.found.hop - 1, self.found.hop, rounding_mode="floor")
        for kernel, stride in self._steps:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths

    @property
    def _steps(self) -> list[tuple[int, int]]:
        found = self.found
        return list(zip(found.numbers("conv_kernel"), found.numbers("conv_stride"), strict=True))

    def freeze(self) -> None:
        """No gradient, no dropout and no masks, in training mode either; weights of layers are
        learned all the same."""
        self._trained_layers = 0
        self.network.requires_grad_(False)
        self.train(self.training)

    def unfreeze(self, top_layers: int | None = None) -> None:
        """Train the network.

        The convolutions at the front of wav2vec 2.0 and its kin stay as they are, as in its paper's
        fine-tuning (section 4.3), and so do Whisper's positions, which are sines.

        Args:
            top_layers: only so many of the last layers in use.

        Raises:
            DataError: there are fewer layers in use.
        """
        layers = self._layers
        if top_layers is not None and not 0 < top_layers <= len(layers):
            raise DataError(
                f"{self.found.folder}: top_layers = {top_layers} can't be trained: give 1 to "
                f"{len(layers)}, the layers in use"
            )
        self._trained_layers = top_layers
        self.network.requires_grad_(top_layers is None)
        for layer in layers[-(top_layers or len(layers)) :]:
            layer.requires_grad_(True)
        if self.found.whisper:
            self.network.embed_positions.requires_grad_(False)
        else:
            self.network.feature_extractor._freeze_parameters()
        self.train(self.training)

    @property
    def _layers(self) -> list[nn.Module]:
        encoder = self.network if self.found.whisper else self.network.encoder
        return list(encoder.layers)

    def train(self, mode: bool = True) -> SslFront:
        """Training mode, of what is trained: the rest stays in evaluation mode."""
        super().train(mode)
        if mode and self._trained_layers is not None:
            self.network.train(False)
            for layer in self._layers[len(self._layers) - self._trained_layers :]:
                layer.train(True)
        return self

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of a batch.

        Args:
            samples: `[B, n]` float32 at 16 kHz; what lies beyond an utterance's end is not heard.
            lengths: `[B]` whole numbers, samples of each utterance.

        Returns:
            Frames `[B, t, size]`, 0 where there are none, and a mask `[B, t]` of where there are.

        Raises:
            AudioError: an utterance without a single frame, or longer than Whisper's window.
        """
        if int(lengths.min()) < self.found.shortest:
            raise AudioError(
                f"an utterance of {int(lengths.min())} samples has no frame: give at least "
                f"{self.found.shortest}"
            )
        if self.found.whisper and samples.shape[1] > self.found.longest:
            raise AudioError(
                f"{samples.shape[1]} samples are more than Whisper's window: cut them into pieces "
                f"of {self.found.longest}"
            )
        return self.heard(samples, lengths.to(samples.device))

    def heard(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, without looking at the lengths: what can be traced into a graph."""
        samples = torch.where(before(lengths, samples.shape[1]), samples, 0.0)
        if self.found.whisper:
            frames, real = self._whisper(samples, lengths)
        else:
            frames, real = self._waves(samples, lengths)
        return torch.where(real[:, :, None], frames, 0.0), real

    def _waves(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        inside = before(lengths, samples.shape[1])
        if self.found.normalise:
            samples = normalised(samples, lengths)
        if self._norm is not None:
            kernel, stride = self._steps[0]
            self._norm.lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        counts = self.frames_of(lengths)
        masked = partial(self._frames_masked, counts.tolist()) if self._masks else None
        frames = self._states(samples, masked, attention_mask=inside.long())
        return frames, before(counts, frames.shape[1])

    def _whisper(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        mels = log_mel(samples, self.found.number("num_mel_bins"), self.found.longest)
        counts = self.frames_of(lengths)
        if self._masks:
            mels = self._mels_masked(mels, (2 * counts).tolist())
        end = (samples.shape[1] + self.found.hop - 1) // self.found.hop
        frames = self._states(mels)[:, :end]
        return frames, before(counts, end)

    def _states(self, heard: Tensor, masked: Hook | None = None, **more: Tensor) -> Tensor:
        """The hidden state, or the weighted mean of all."""
        with self._hooked(masked) as states, warnings.catch_warnings():
            # WavLM gives torch a mask and a bias of different types, which torch would like equal.
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            last: Tensor = self.network(heard, **more).last_hidden_state
        if self.config.layer is not None:
            return last
        every = torch.stack([*states, last])
        if self.config.normalise_states:
            every = F.layer_norm(every, every.shape[-1:])
        return torch.einsum("n,nbtf->btf", self.mix.softmax(0), every)

    @contextmanager
    def _hooked(self, masked: Hook | None) -> Iterator[list[Tensor]]:
        """What enters each layer, if it is asked for; frames on their way in are masked."""
        states: list[Tensor] = []
        hooks = []
        if self.config.layer is None:
            for layer in self._layers:
                hooks.append(layer.register_forward_pre_hook(lambda _, x: states.append(x[0])))
        if masked is not None:
            hooks.append(self.network.feature_projection.register_forward_hook(masked))
        try:
            yield states
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def _masks(self) -> bool:
        return self.training and self._trained_layers != 0

    def _share(self, name: str, given: float | None) -> float:
        if given is not None:
            return given
        own = self.found.config.get("apply_spec_augment", not self.found.whisper)
        default = 0.05 if name == "mask_time" and not self.found.whisper else 0.0
        return float(self.found.config.get(f"{name}_prob", default)) if own else 0.0

    def _spans(self, name: str, lengths: list[int], total: int) -> Tensor:
        """Masked places `[B, total]` of one kind."""
        share = self._share(name, getattr(self.config, name))
        span = int(self.found.config.get(f"{name}_length", 10))
        least = int(self.found.config.get(f"{name}_min_masks", 2 if name == "mask_time" else 0))
        return spans(lengths, total, share, span, least if share else 0, self.generator)

    def _frames_masked(self, lengths: list[int], _: nn.Module, __: Any, given: Any) -> Any:
        """What leaves the projection, with the learned vector or zeros in masked places."""
        frames: Tensor = given[0] if isinstance(given, tuple) else given
        vector = getattr(self.network, "masked_spec_embed", None)
        vector = torch.zeros_like(frames[0, 0]) if vector is None else vector
        count, width = frames.shape[1:]
        times = self._spans("mask_time", lengths, count).to(frames.device)
        values = self._spans("mask_feature", [width] * len(frames), width).to(frames.device)
        frames = torch.where(times[:, :, None], vector.to(frames.dtype), frames)
        frames = torch.where(values[:, None], 0.0, frames)
        return (frames, *given[1:]) if isinstance(given, tuple) else frames

    def _mels_masked(self, mels: Tensor, lengths: list[int]) -> Tensor:
        bins, count = mels.shape[1:]
        times = self._spans("mask_time", lengths, count).to(mels.device)
        values = self._spans("mask_feature", [bins] * len(mels), bins).to(mels.device)
        return torch.where(times[:, None] | values[:, :, None], 0.0, mels)


def load(config: SslConfig) -> SslFront:
    """The front end of a model, from a folder or, once, from the hub.

    Raises:
        UsageError: a name without a revision.
        DataError: no such model, one that is not supported, or a folder that is not in order.
        MissingExtraError: transformers is not installed.
    """
    name, revision = pinned(config.model, "model")
    found = source(Path(name) if revision is None else fetched(name, revision, _WANTED))
    if config.layer is not None:
        found.require_layer(config.layer)
    return SslFront(config, found, open_network(found))


def fetched(name: str, revision: str, wanted: Sequence[str]) -> Path:
    """The folder of a hub's model in the library's cache, with the wanted files and nothing else.

    Raises:
        MissingExtraError: transformers is not installed.
        DataError: it can't be fetched.
    """
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise MissingExtraError(f"the model {name}", "ssl,train") from None
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(wanted)))
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{name}@{revision}: can't be fetched ({reason}): check name and revision, or download "
            "it on a machine with a network and give its folder"
        ) from None
