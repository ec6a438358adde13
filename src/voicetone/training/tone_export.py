"""A trained tone network as a bundle: two ONNX graphs and `bundle.json`."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voicetone.audio.units import FRAME, HOP_SECONDS, SAMPLE_RATE, WINDOW_FRAMES, WINDOW_SECONDS
from voicetone.features.spectral import SpectralConfig
from voicetone.models.conformer import ConformerConfig
from voicetone.models.tone import ToneConfig, ToneNet
from voicetone.pretrained import bundle
from voicetone.pretrained.runtime import quantised
from voicetone.pretrained.spec import STREAM
from voicetone.types import SENTIMENTS, Floats

_OPSET = 17


class _Pooled(nn.Module):
    def __init__(self, net: ToneNet) -> None:
        super().__init__()
        self.head = net.head

    def forward(self, frames: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        sentiment, emotion = self.head(frames, weight)
        return sentiment, emotion


def graphs(net: ToneNet) -> dict[str, bytes]:
    """`encoder.onnx` and `head.onnx` of a network in evaluation mode."""
    config = net.config
    features = torch.zeros(2, 2 * 20, config.features)
    state = torch.zeros(2, config.state_size)
    frames, weight = torch.zeros(2, WINDOW_FRAMES, config.frame + 1), torch.ones(2, WINDOW_FRAMES)
    free = {0: "batch", 1: "time"}
    return {
        "encoder.onnx": exported(
            net.encoder,
            (features, state),
            {"features": free, "state": {0: "batch"}},
            {"frames": free, "speech": free, "state_out": {0: "batch"}},
        ),
        "head.onnx": exported(
            _Pooled(net),
            (frames, weight),
            {"frames": free, "weight": free},
            {"sentiment": {0: "batch"}, "emotion": {0: "batch"}},
        ),
    }


def exported(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    input_axes: Mapping[str, Mapping[int, str]],
    output_axes: Mapping[str, Mapping[int, str]],
) -> bytes:
    """A module in evaluation mode as the bytes of an ONNX graph.

    Args:
        module: the network.
        inputs: examples of what it takes.
        input_axes: name of each input, and of its axes whose length is free.
        output_axes: the same of the outputs.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter by tracing is deprecated, but quick, and exact here: no data-dependent flow.
        warnings.simplefilter("ignore")
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module.eval(),
            inputs,
            path,
            input_names=list(input_axes),
            output_names=list(output_axes),
            dynamic_axes={**input_axes, **output_axes},
            opset_version=_OPSET,
            dynamo=False,
        )
        return path.read_bytes()


def multiply_adds(config: ToneConfig) -> int:
    """Multiply-adds per second of audio: encoder once, head once every 2.5 s over 5 s."""
    rate = SAMPLE_RATE / FRAME
    first, second = config.stem
    per_frame = first * 4 * 5 * (config.mels // 2)
    per_frame += second * first * 3 * 5 * (config.mels // 4)
    per_frame += (second * (config.mels // 4) + 2 * config.lags) * config.width
    block = config.kernel * config.width + 2 * config.expand * config.width**2
    per_frame += len(config.dilations) * block
    per_frame += _conformer_adds(config.conformer) if config.conformer else 0
    frame = config.frame
    per_frame += frame + 64 * (frame + 1)  # the head's damping, speech presence
    pooling = frame * 64 + 64 * config.heads + 4 * frame
    outputs = config.hidden * (2 * frame + config.sentiments + config.emotions)
    return round(rate * per_frame + (WINDOW_FRAMES * pooling + outputs) / HOP_SECONDS)


def _conformer_adds(config: ConformerConfig) -> int:
    """Multiply-adds per frame."""
    width = config.width
    steps = 2 * 2 * config.expand * width**2
    # A stretch's keys are all compared with all of its frames; a second has 32 of them.
    attention = 4 * width**2 + 2 * width * (config.past + round(SAMPLE_RATE / FRAME))
    convolution = 3 * width**2 + config.kernel * width
    return config.inputs * width + config.layers * (steps + attention + convolution)


def write_bundle(
    folder: Path,
    net: ToneNet,
    spectral: SpectralConfig,
    emotions: tuple[str, ...],
    facts: Mapping[str, Any],
    heard: Sequence[Floats] | None = None,
) -> Path:
    """Write a bundle and check that it reads back.

    Args:
        folder: where to; made if missing.
        net: the trained network.
        spectral: its features.
        emotions: the labels in the order of its outputs.
        facts: the rest of `bundle.json`: name, version, created, temperature, speech, dont_know,
            training, licence, attribution, notice, card, metrics.
        heard: features `[2n, F]` of clips, on whose ranges the encoder goes into eight bits; if not
            given it stays as it is.

    Raises:
        BundleError: a fact that a bundle can't hold.
    """
    config = net.config
    spec = {
        "format": STREAM,
        "label_spaces": {"sentiment": list(SENTIMENTS), "emotion": list(emotions)},
        "sample_rate": SAMPLE_RATE,
        "window_seconds": WINDOW_SECONDS,
        "hop_seconds": HOP_SECONDS,
        "frame_samples": FRAME,
        "features": spectral.to_dict(),
        "state_size": config.state_size,
        "embedding_size": config.frame + 1,
        "graphs": {"encoder": "encoder.onnx", "head": "head.onnx"},
        "parameters": sum(p.numel() for p in net.parameters()),
        "mac_per_second": multiply_adds(config),
        **facts,
    }
    files = graphs(net.eval())
    if heard is not None:
        state = np.zeros((1, config.state_size), dtype=np.float32)
        examples = [{"features": clip[None], "state": state} for clip in heard]
        files["encoder.onnx"] = quantised(files["encoder.onnx"], examples)
    return bundle.write(folder, spec, files)
