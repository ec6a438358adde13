"""Measure what a window of voice tone costs beside a transcript of it, on one core.

    python benchmarks/bench_voice_cost.py [RUN]

The first five seconds of a clip of RAVDESS that the first fold tests go through the encoder, the
tone's head and the recogniser's decoder, greedy and with a beam of four, all in PyTorch with one
thread, alternating, so that a noisy machine is noisy for all. Then ten minutes of speech are
analysed with the run's bundle, if it has one, on one core. `docs/results/voice-tone/cost.json` is
written, for the page that `benchmarks/voice_tone.py` makes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from bench_speed import in_child, machine, make_audio
from systems import RESULTS, ROOT

ROUNDS = 15
CLIPS = 8
SECONDS = 600
CORPUS = "ravdess"
RESULT = RESULTS / "voice-tone" / "cost.json"


def clips(run: Path, features: Any) -> list[Any]:
    """Features `[1, 2 * WINDOW_FRAMES, F]` of clips that the first fold tests, cut or padded."""
    import numpy as np
    import torch

    from voicetone.audio.units import WINDOW_FRAMES
    from voicetone.corpora.prepared import read_prepared
    from voicetone.features.spectral import SpectralConfig
    from voicetone.training.tone_data import features_of, load

    folds = json.loads((run / "folds.json").read_text(encoding="utf-8"))["folds"]
    tested = set(folds[0]["test"])
    mine = [u for u in read_prepared(CORPUS) if u.id in tested]
    found = []
    for u in mine[:: max(1, len(mine) // CLIPS)][:CLIPS]:
        x = features_of(load(u.audio), SpectralConfig())[: 2 * WINDOW_FRAMES]
        fill = np.broadcast_to(features.numpy(), (2 * WINDOW_FRAMES - len(x), x.shape[1]))
        found.append(torch.from_numpy(np.concatenate([x, fill]).astype(np.float32))[None])
    return found


def seconds_of_parts(run: Path) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each part on each clip, and the mean number of tokens of the transcripts."""
    import torch

    from voicetone.audio.units import WINDOW_FRAMES
    from voicetone.language.tokens import load_tokens
    from voicetone.models.asr_search import SearchSettings, search
    from voicetone.training.asr_fit import load_asr
    from voicetone.training.tone_run import stage_folder
    from voicetone.training.tone_weights import read_weights

    torch.set_num_threads(1)
    stage = stage_folder(run, 0)
    asr, tokens = load_asr(stage / "asr.safetensors"), load_tokens(stage / "tokens.json")
    net, _ = read_weights(run / "checkpoints" / "00.safetensors")
    weight, state = torch.ones(1, WINDOW_FRAMES), torch.zeros(1, net.config.state_size)
    beam = SearchSettings(beam=4, ctc_share=0.3)
    seconds: dict[str, list[float]] = {}
    letters = []
    with torch.no_grad():
        for features in clips(run, asr.front.mean.cpu()):
            frames = net.encoder(features, state)[0]
            memory, real = asr.memory(features, torch.tensor([features.shape[1]]))
            letters.append(
                len(tokens.decode(search(asr, memory, real, SearchSettings())[0].tokens))
            )
            parts: dict[str, Callable[[], object]] = {
                "encoder, 5 s": lambda x=features: net.encoder(x, state),
                "tone of the window": lambda x=frames: net.head(x, weight),
                "transcript, greedy": lambda m=memory, r=real: search(asr, m, r, SearchSettings()),
                "transcript, beam of 4": lambda m=memory, r=real: search(asr, m, r, beam),
            }
            for _ in range(ROUNDS):
                for name, work in parts.items():
                    start = time.perf_counter()
                    work()
                    seconds.setdefault(name, []).append(time.perf_counter() - start)
    return seconds, {"letters": sum(letters) / len(letters)}


def bundle_of(run: Path) -> dict[str, Any]:
    """Size and speed of the run's bundle, if it has one."""
    from voicetone.pretrained import verify

    bundle = run / "bundle"
    if not bundle.exists():
        return {}
    spec = verify(bundle)
    with tempfile.TemporaryDirectory() as name:
        path = make_audio(Path(name) / "call.wav", SECONDS, 16000, 1)
        took = in_child("file", str(bundle), str(path), 3)
    size = sum(file.bytes for file in spec.files.values()) / 1e6
    return {"bundle_mb": round(size, 1), "times_real_time": round(SECONDS / median(took))}


def main(run: Path) -> None:
    """Measure the first fold of a run, and its bundle."""
    seconds, told = seconds_of_parts(run)
    head = median(seconds["tone of the window"])
    rows = {
        name: {"ms": round(1000 * median(s), 3), "of_the_tone": round(median(s) / head, 1)}
        for name, s in seconds.items()
    }
    found = {"date": str(date.today()), "machine": machine(), "rows": rows, **told}
    found |= bundle_of(run)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "runs" / "voice-tone" / "hybrid"
    if (chosen / "checkpoints" / "00.safetensors").exists():
        main(chosen)
    else:
        print(f"{chosen}: no trained run there: python benchmarks/voice_tone.py hybrid makes one")
