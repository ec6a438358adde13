"""Train the recogniser of voice tone on spoken digits alone, and write what it hears.

    VOICETONE_DATA=DIR python benchmarks/voice_digits.py

fsdd's own test part, whose speakers are all in training (speaker-dependent), and each of its six
speakers left out. The run goes on from where it stopped; the error rates go
into `docs/results/voice-tone/digits.json`, for the page that `benchmarks/voice_tone.py` makes.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from systems import RESULTS, ROOT

OUT = RESULTS / "voice-tone" / "digits.json"
SEED = 1
STEPS = 500
RUN = ROOT / "runs" / f"voice-digits-{STEPS}-{SEED}"


def main() -> None:
    """Train what is missing, and write the rates."""
    import torch

    from voicetone.corpora.prepared import read_prepared
    from voicetone.features.workers import ProgressLines
    from voicetone.training.asr_recipe import AsrSettings
    from voicetone.training.protocol import Fold, FoldTable
    from voicetone.training.runs import environment
    from voicetone.training.tone_run import stage_folder
    from voicetone.training.voice_recipe import Stages, VoiceRecipe, WordsPart
    from voicetone.training.voice_scores import read_words_heard, words_line, words_scores
    from voicetone.training.voice_speech import Speech
    from voicetone.training.voice_stages import learn

    torch.set_num_threads(1)
    manifest = read_prepared("fsdd", words=True)
    speakers = sorted({str(u.speaker) for u in manifest})
    recipe = VoiceRecipe(
        kind="voice-tone",
        name="voice-digits",
        version="1",
        corpora=(),
        stages=Stages(
            asr=AsrSettings(steps=STEPS, train_front=True, balance="none"),
            words=(WordsPart("fsdd"),),
            beam=4,
        ),
    )
    folds = tuple(Fold(name, (), (), ()) for name in speakers)
    held = tuple(frozenset(u.id for u in manifest if u.speaker == name) for name in speakers)
    speech = Speech(tuple(manifest), 0, FoldTable("leave one speaker out", folds), held)
    store = _rendered(manifest)
    began, total = time.monotonic(), STEPS * (1 + len(folds))
    report, done = ProgressLines("digits: steps"), 0

    def count(_: int, __: float) -> None:
        nonlocal done
        done += 1
        report(done, total)

    for index in (None, *range(len(folds))):
        folder = stage_folder(RUN, index)
        learn(recipe, speech, store, index, folder, SEED, count, torch.device("cpu"))
    own = words_scores(read_words_heard([stage_folder(RUN, None)]))
    heard = read_words_heard([stage_folder(RUN, index) for index in range(len(folds))])
    strangers = words_scores([row for row in heard if row["part"] == "new speaker"])
    told: dict[str, Any] = {"machine": environment(())["machine"], "date": time.strftime("%F")}
    if done == total:
        told["minutes"] = round((time.monotonic() - began) / 60, 1)
    told |= {"steps": STEPS, "words": [*own, *strangers]}
    OUT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for part in told["words"]:
        print(words_line(part))


def _rendered(manifest: Any) -> Any:
    """Clips as recorded; features are masked and shifted when they are drawn."""
    from voicetone.corpora.prepared import data_root
    from voicetone.features.spectral import SpectralConfig
    from voicetone.features.workers import ProgressLines
    from voicetone.training.tone_data import augment_config, build
    from voicetone.training.tone_recipe import Renderings

    settings = Renderings(variants=1)
    return build(
        tuple(manifest),
        0,
        settings.variants,
        SEED,
        augment_config(settings, (1, 2, 3)),
        SpectralConfig(),
        Path(os.environ.get("VOICETONE_CACHE", ".cache")) / "tone",
        root=data_root(),
        workers=os.cpu_count() or 1,
        progress=ProgressLines("rendering clips"),
    )


if __name__ == "__main__":
    main()
