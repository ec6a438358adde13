"""Graphs of trained fusions: equal to the network, with and without each modality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("onnx")
import torch

from training.test_fusion_run import FUSED, corpus, four, recipe, system
from voicetone.errors import DataError
from voicetone.training.fusion_checkpoint import read_fusion_checkpoint
from voicetone.training.fusion_export import TOLERANCE, fusion_graphs, off
from voicetone.training.run import train

__all__ = ["corpus", "four"]  # fixtures


@pytest.mark.parametrize("integration", ["none", "prefix"])
def test_the_graphs_are_the_network(corpus: Path, tmp_path: Path, integration: str) -> None:
    more = f'integration = "{integration}"'
    text = "".join(system(name, more) for name in FUSED)
    root = train(recipe(corpus, tmp_path, text), ["speaker.curve=[]"])
    generator = torch.Generator().manual_seed(3)
    for name in FUSED:
        path = sorted((root / "emotion" / name / "checkpoints").iterdir())[0]
        kept = read_fusion_checkpoint(path)
        graphs = fusion_graphs(kept)
        assert kept.reader is not None
        for frames, words, heard in (
            (20, "all is lost", 1.0),
            (7, None, 1.0),
            (33, "lovely day to you awful man", 1.0),
            (20, "you", 0.0),
        ):
            noise = torch.randn(1, frames, kept.mean.shape[1], generator=generator)
            given = [kept.mean + kept.scale * noise, torch.ones(1, frames), torch.tensor([heard])]
            if integration == "prefix":
                size = kept.net.acoustic.config.speaker
                given += [torch.randn(1, size, generator=generator), torch.ones(1)]
            given[0] = given[0].float()
            assert off(kept, graphs, kept.reader.tokens([words]), given) < TOLERANCE, name


def test_what_has_no_graphs(corpus: Path, tmp_path: Path) -> None:
    root = train(recipe(corpus, tmp_path, system("text") + system("late")))
    folder = root / "emotion"
    words, both = (
        read_fusion_checkpoint(sorted((folder / name / "checkpoints").iterdir())[0])
        for name in ("text", "late")
    )
    with pytest.raises(DataError, match="voice or words alone"):
        fusion_graphs(words)
    with pytest.raises(DataError, match="normalised by groups"):
        fusion_graphs(replace(both, mean=both.mean.repeat(2, 1), scale=both.scale.repeat(2, 1)))
