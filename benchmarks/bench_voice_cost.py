"""Measure what a window of voice tone costs beside a transcript of it, on one core.

    python benchmarks/bench_voice_cost.py runs/voice-tone/hybrid

Five seconds of noise-like features go through the encoder, the tone's head and the recogniser's
decoder, greedy and with a beam of four, all in PyTorch with one thread, alternating, so that a
noisy machine is noisy for all. `benchmarks/results/voice_cost.json` is written.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

ROUNDS = 15
RESULT = Path(__file__).resolve().parent / "results" / "voice_cost.json"


def main(run: Path) -> None:
    """Measure the first fold of a run."""
    import torch

    from voicetone.audio.units import WINDOW_FRAMES
    from voicetone.models.asr_search import SearchSettings, search
    from voicetone.training.asr_fit import load_asr
    from voicetone.training.tone_run import stage_folder
    from voicetone.training.tone_weights import read_weights

    torch.set_num_threads(1)
    asr = load_asr(stage_folder(run, 0) / "asr.safetensors")
    net, _ = read_weights(run / "checkpoints" / "00.safetensors")
    features = asr.front.mean + torch.randn(1, 2 * WINDOW_FRAMES, net.config.features)
    lengths, weight = torch.tensor([features.shape[1]]), torch.ones(1, WINDOW_FRAMES)
    state = torch.zeros(1, net.config.state_size)
    with torch.no_grad():
        frames = net.encoder(features, state)[0]
        memory, real = asr.memory(features, lengths)
        parts: dict[str, Callable[[], object]] = {
            "encoder, 5 s": lambda: net.encoder(features, state),
            "tone of the window": lambda: net.head(frames, weight),
            "transcript, greedy": lambda: search(asr, memory, real, SearchSettings()),
            "transcript, beam of 4": lambda: search(
                asr, memory, real, SearchSettings(beam=4, ctc_share=0.3)
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(ROUNDS):
            for name, work in parts.items():
                start = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - start)
    head = median(seconds["tone of the window"])
    rows = {
        name: {"ms": round(1000 * median(s), 3), "of_the_tone": round(median(s) / head, 1)}
        for name, s in seconds.items()
    }
    told = {"date": str(date.today()), "machine": platform.machine(), "rows": rows}
    RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
