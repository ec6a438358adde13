"""Hidden states of self-supervised speech models as features: wav2vec 2.0, XLS-R, HuBERT, WavLM
and the encoder of Whisper, frozen, one utterance at a time, in this process.

What is loaded here also stands behind `voicetone.models.ssl`, which trains and exports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voicetone.audio.units import SAMPLE_RATE
from voicetone.errors import AudioError, DataError, MissingExtraError
from voicetone.features.sets import Extractor, FeatureConfig, mean_and_sd
from voicetone.features.ssl_source import MEL_HOP, MEL_WINDOW, Source, source
from voicetone.types import Floats

if TYPE_CHECKING:
    from torch import Tensor

_VERSION = 1  # raised when what is computed here changes
EPSILON = 1e-7  # of the normalisation, as in transformers' Wav2Vec2FeatureExtractor
_EMBEDDING = "masked_spec_embed"  # stands for masked frames in training; not every folder has it
_CLASSES = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "hubert": ("HubertConfig", "HubertModel"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
    "whisper": ("WhisperConfig", "WhisperEncoder"),
}
_NOT_TAKEN = {"quantization_config", "auto_map", "dtype", "torch_dtype", "add_adapter"}
"""Of a config.json: nothing in it chooses code, number format or parts behind the transformer."""


@dataclass(frozen=True, slots=True)
class SslExtractor(Extractor):
    """What computes hidden states or their mean and standard deviation."""

    found: Source

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names."""
        names = tuple(f"ssl_{i}" for i in range(self.found.size))
        if not self.config.functionals:
            return names
        return tuple(f"{name}_{kind}" for kind in ("mean", "sd") for name in names)

    def compute(self) -> Callable[[Floats], Floats]:
        """The network at work; loaded when first asked for."""
        assert self.config.layer is not None
        found, layer = self.found, self.config.layer
        network = _opened(str(found.folder), found.digest, layer)

        def frames(samples: Floats) -> Floats:
            return hidden_states(found, network, samples)

        return (lambda x: mean_and_sd(frames, x)) if self.config.functionals else frames


def ssl_extractor(config: FeatureConfig) -> SslExtractor:
    """The extractor of a model's hidden state.

    Its settings hold a hash of the weights and no path: a moved folder costs nothing.

    Raises:
        DataError: a folder that is not in order, or a layer that it has not.
        MissingExtraError: transformers or torch is not installed.
    """
    try:
        library = version("transformers")
        version("torch")
    except PackageNotFoundError:
        raise MissingExtraError("the feature set ssl", "ssl,train") from None
    found = source(Path(config.model))
    assert config.layer is not None
    found.require_layer(config.layer)
    settings = {
        "name": config.name,
        "level": config.functionals,
        "cut_seconds": config.cut_seconds,
        "layer": config.layer,
        "weights": found.digest,
        "transformers": library,
        "version": _VERSION,
    }
    return SslExtractor(config, settings, found)


@lru_cache(maxsize=1)
def _opened(folder: str, _digest: str, layer: int) -> Any:
    found = source(Path(folder))
    network = open_network(found).eval().requires_grad_(False)
    keep_layers(found, network, layer)
    return network


def open_network(found: Source) -> Any:
    """The network with its weights, in float32 on the processor, without dropping of layers.

    Raises:
        MissingExtraError: transformers or torch is not installed.
        DataError: weights that don't fit, or settings that the library can't take.
    """
    try:
        import torch
        import transformers
        from transformers.models.whisper.modeling_whisper import WhisperEncoder
    except ModuleNotFoundError:
        raise MissingExtraError(f"the model {found.folder.name}", "ssl,train") from None
    names = _CLASSES[found.kind]
    kind: Any = WhisperEncoder if found.whisper else getattr(transformers, names[1])
    try:
        config = _config(getattr(transformers, names[0]), found)
        with quiet(transformers):
            network, told = kind.from_pretrained(
                found.folder,
                config=config,
                dtype=torch.float32,
                attn_implementation="eager" if found.kind == "wavlm" else "sdpa",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                key_mapping={r"^(model\.)?encoder\.": ""} if found.whisper else None,
                output_loading_info=True,
            )
    except Exception as error:  # whatever a stranger's settings make of the library
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        raise DataError(
            f"{found.folder}: the network can't be made ({reason}): download it again, or choose "
            "another model"
        ) from None
    missing = sorted(set(told["missing_keys"]) - {_EMBEDDING})
    if missing:
        raise DataError(
            f"{found.folder}: weights for {missing[0]} and {len(missing) - 1} others are not in "
            "its files: they are of another model than config.json, download both again"
        )
    return network


def _config(kind: Any, found: Source) -> Any:
    """The library's settings of what it knows in `config.json`, and nothing else of it."""
    known = set(kind().to_dict()) - _NOT_TAKEN
    config = kind(**{k: v for k, v in found.config.items() if k in known and k[0] != "_"})
    config.layerdrop = config.encoder_layerdrop = 0.0  # each hidden state must be there
    config.output_hidden_states = config.output_attentions = False
    config.return_dict = True
    config.apply_spec_augment = False  # drawn by `voicetone.models.ssl`, from its own generator
    return config


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """No tables of unused weights and no progress bars."""
    logging = transformers.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def keep_layers(found: Source, network: Any, layer: int) -> None:
    """Leave out what comes after a hidden state: less to compute and to keep.

    Its output is then hidden state `layer`: the input of that layer, or, of the last one, what the
    whole transformer gives, behind its closing normalisation where it has one.
    """
    from torch import nn

    if layer == found.layers:
        return
    encoder = network if found.whisper else network.encoder
    del encoder.layers[layer:]
    if found.whisper or found.config.get("do_stable_layer_norm"):
        encoder.layer_norm = nn.Identity()


def hidden_states(found: Source, network: Any, samples: Floats) -> Floats:
    """Frames `[t, size]` of one utterance; longer ones are heard in equal pieces.

    Args:
        found: whose network it is.
        network: opened, in evaluation mode.
        samples: `[n]` at 16 kHz.

    Raises:
        AudioError: too short for a frame.
    """
    import torch

    if len(samples) < found.shortest:
        raise AudioError(
            f"{len(samples) / SAMPLE_RATE:.3f} s is too short for {found.folder.name}, whose "
            f"frames need {found.shortest} samples: leave it out of the manifest"
        )
    whole = torch.from_numpy(np.array(samples, dtype=np.float32))
    if found.normalise and not found.whisper:
        whole = (whole - whole.mean()) / torch.sqrt(whole.var(correction=0) + EPSILON)
    frames = []
    with torch.inference_mode():
        for piece in whole.tensor_split(-(-len(whole) // found.longest)):
            if found.whisper:
                heard = log_mel(piece[None], found.number("num_mel_bins"), found.longest)
                known = -(-len(piece) // found.hop)
            else:
                heard, known = piece[None], None
            frames.append(network(heard).last_hidden_state[0, :known].numpy())
    return np.concatenate(frames)


def log_mel(samples: Tensor, bins: int, window: int) -> Tensor:
    """Whisper's log-mel energies (Radford et al., ICML 2023, section 2.2), made of convolutions
    so that they can be part of a graph.

    Spectra of 25 ms every 10 ms in a periodic Hann window, mel bands of Slaney's kind, base-10
    logarithm, at most 8 below the largest value, then (x + 4) / 4.

    Args:
        samples: `[B, n]` at 16 kHz, zeros beyond each utterance's end.
        bins: mel bands.
        window: samples that are heard; zeros follow what is shorter.

    Returns:
        `[B, bins, window / 160]`.
    """
    import torch
    from torch.nn import functional as F

    waves, bands = (torch.from_numpy(a).to(samples.device) for a in _transforms(bins))
    samples = F.pad(samples, (0, window))[:, :window]
    half = MEL_WINDOW // 2
    parts = F.conv1d(F.pad(samples[:, None], (half, half), mode="reflect"), waves, stride=MEL_HOP)
    parts = parts[:, :, : window // MEL_HOP]
    power = parts[:, : half + 1] ** 2 + parts[:, half + 1 :] ** 2
    logs = (bands @ power).clamp(min=1e-10).log10()
    logs = torch.maximum(logs, logs.amax((1, 2), keepdim=True) - 8.0)
    return (logs + 4.0) / 4.0


@lru_cache(maxsize=4)
def _transforms(bins: int) -> tuple[Floats, Floats]:
    """Windowed cosines and sines `[402, 1, 400]`, and mel bands `[bins, 201]`."""
    from transformers.audio_utils import mel_filter_bank

    time = np.arange(MEL_WINDOW)
    turns = 2 * np.pi * np.outer(np.arange(MEL_WINDOW // 2 + 1), time) / MEL_WINDOW
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / MEL_WINDOW)
    waves = np.concatenate([np.cos(turns), np.sin(turns)]) * hann
    bands = mel_filter_bank(
        num_frequency_bins=MEL_WINDOW // 2 + 1,
        num_mel_filters=bins,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return waves[:, None].astype(np.float32), np.ascontiguousarray(bands.T, dtype=np.float32)
