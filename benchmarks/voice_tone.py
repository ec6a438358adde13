"""Train voice tone with and without each of its parts, and write what came out.

    VOICETONE_DATA=DIR python benchmarks/voice_tone.py [SYSTEM...]

Each system is `recipes/voice-tone.toml` with something left out, on the same folds (`PARTS`: on
the first two of them); its run is in `runs/voice-tone/SYSTEM` and goes on from where it stopped. A
stage that another system has trained with the same settings, seed and folds is taken from there.
Without names nothing is trained: the page `docs/results/voice-tone.md`, `voice-tone.json` and the
predictions beside them are made from the runs that there are.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from systems import DIGITS, METRICS, RESULTS, ROOT, Row
from voice_text import text_only
from voice_tone_page import PARTS as SHOWN
from voice_tone_page import page

RUNS = ROOT / "runs" / "voice-tone"
KEPT = RESULTS / "voice-tone"
RECIPE = ROOT / "recipes" / "voice-tone.toml"
SPACES = ("sentiment", "emotion")
CORPORA = ("ravdess", "emodb", "nemo")
Edit = Callable[[dict[str, Any]], None]


def _acoustic(recipe: dict[str, Any]) -> None:
    """No stage before the tone: all of the network learns from the tone's labels."""
    recipe["stages"] = {"frozen": False}


def _fixed_front(recipe: dict[str, Any]) -> None:
    """The recogniser learns on a front end that stays as pretraining left it."""
    recipe["stages"]["asr"]["train_front"] = False


def _no_ssl(recipe: dict[str, Any]) -> None:
    """The front end learns with the recogniser."""
    del recipe["stages"]["pretrain"]
    recipe["stages"]["asr"]["train_front"] = True


def _no_asr(recipe: dict[str, Any]) -> None:
    """The tone is learnt on the pretrained front end."""
    del recipe["stages"]["asr"]


def _no_augmentation(recipe: dict[str, Any]) -> None:
    """Clips as recorded in all stages, each alone; masks over time stay in the tone."""
    recipe["augmentation"] = {
        "variants": 1,
        "transpose": 0.0,
        "level_sd": 0.0,
        "widest_band": 0,
        "join": 0.0,
    }
    recipe["stages"]["asr"] |= {"transpose": 0.0, "level_sd": 0.0, "masks": 0}


def _no_balance(recipe: dict[str, Any]) -> None:
    """Sentiments as frequent as they are, and losses without weights."""
    recipe["balance"] = "none"
    recipe["stages"]["asr"]["balance"] = "none"


def _untuned(recipe: dict[str, Any]) -> None:
    """All stages, but the tone trains front end and encoder, too."""
    recipe["stages"]["frozen"] = False


def _across(corpus: str, edit: Edit | None = None) -> Edit:
    def edited(recipe: dict[str, Any]) -> None:
        for part in recipe["corpora"]:
            part["folds"], part["validation"] = 0, 1
            part["side"] = "test" if part["name"] == corpus else "train"
        if edit is not None:
            edit(recipe)
        recipe["stages"].pop("withheld", None)

    return edited


SYSTEMS: dict[str, Edit] = {
    "hybrid": lambda recipe: None,
    "acoustic": _acoustic,
    "fixed-front": _fixed_front,
    "without-ssl": _no_ssl,
    "without-asr": _no_asr,
    "without-augmentation": _no_augmentation,
    "without-balance": _no_balance,
    "not-frozen": _untuned,
    **{f"across-{c}": _across(c) for c in CORPORA},
    **{f"across-{c}-not-frozen": _across(c, _untuned) for c in CORPORA},
    **{f"across-{c}-acoustic": _across(c, _acoustic) for c in CORPORA},
}
BASELINE = "acoustic"
PARTS = tuple(name for name in SHOWN if not name.endswith("-first"))
"""What each part is worth: against all of them, on the first folds."""
FIRST = 2
WHOLE = ("hybrid", "acoustic")
"""Of whom there is `NAME-first`, too: on the first folds alone."""
FIRSTS = tuple(f"{name}-first" for name in WHOLE)
PRETRAINED = ("front.safetensors", "pretrain.json")
RECOGNISED = ("asr.safetensors", "asr.json", "tokens.json", "words.parquet")
TAKEN = {
    **dict.fromkeys(("fixed-front", "without-asr", "without-balance"), ("hybrid", PRETRAINED)),
    "not-frozen": ("hybrid", (*PRETRAINED, *RECOGNISED)),
    **{f"across-{c}": (f"across-{c}-not-frozen", (*PRETRAINED, *RECOGNISED)) for c in CORPORA},
}
"""Whose stages a system shares, and which of their files."""


def recipe_of(name: str) -> Any:
    """The recipe of a system."""
    from voicetone.training.recipe import dataclass_from, read_recipe
    from voicetone.training.voice_recipe import VoiceRecipe

    data = read_recipe(RECIPE, [])
    SYSTEMS[name](data)
    if name in PARTS:
        data["first_folds"] = FIRST
    return dataclass_from(VoiceRecipe, {**data, "out": str(RUNS / name), "final": False}, RECIPE)


def train(name: str) -> None:
    """A system, or what is left of it."""
    from voicetone.training.run import train as train_recipe
    from voicetone.training.tone_ship import run_tone

    if name == "svm":
        for space in SPACES:
            out = RUNS / f"svm-{space}"
            words = [f"out={out}", f"target={space}", f"protocol.file={_folds(space)}"]
            train_recipe(ROOT / "recipes" / "svm-voice-tone.toml", words)
    else:
        _take_stages(name)
        run_tone(recipe_of(name))


def _take_stages(name: str) -> None:
    """Copy the stages that are the same in another system, as far as that has trained them."""
    source, files = TAKEN.get(name, ("", ()))
    if source and not _alike(name, source, files):
        return
    for folder in sorted((RUNS / source / "stages").glob("*")) if source else ():
        mine = RUNS / name / "stages" / folder.name
        if not all((folder / file).exists() for file in files):
            continue
        mine.mkdir(parents=True, exist_ok=True)
        for file in files:
            if not (mine / file).exists():
                shutil.copy2(folder / file, mine / file)


def _alike(name: str, source: str, files: tuple[str, ...]) -> bool:
    """Whether another system's run has these stages by the settings that they would have here."""
    path = RUNS / source / "recipe.json"
    if not path.exists():
        return False
    told, mine = json.loads(path.read_text(encoding="utf-8")), asdict(recipe_of(name))
    parts = ["pretrain", "words", "withheld", *(["asr"] if files != PRETRAINED else [])]
    pairs = [(told[key], mine[key]) for key in ("seed", "network", "noise_folds")]
    pairs += [(told["stages"][part], mine["stages"][part]) for part in parts]
    heard = {"room": 0.0, "codec": 0.0} | told["augmentation"]  # which are told if they are there
    pairs.append((heard, mine["augmentation"]))
    return all(json.loads(json.dumps(a)) == json.loads(json.dumps(b)) for a, b in pairs)


def _folds(space: str) -> Path:
    """The folds of the system with all parts, without clips that have no such label."""
    from voicetone.training.tone_corpora import read_corpora

    labelled = {u.id for m in read_corpora(recipe_of("hybrid")) for u in m if getattr(u, space)}
    told = json.loads((RUNS / "hybrid" / "folds.json").read_text(encoding="utf-8"))
    for fold in told["folds"]:
        for part in ("train", "validation", "test"):
            fold[part] = [key for key in fold[part] if key in labelled]
    del told["hash"]
    path = RUNS / f"folds-{space}.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def keep(name: str, known: Mapping[str, Any]) -> None:
    """Put a run's predictions beside the page, rounded, and what its stages told.

    Args:
        name: of the system.
        known: utterances by id.
    """
    from voicetone.evaluation.table import groups_of, read_predictions

    run = RUNS / name
    if not (run / "metrics.json").exists():
        return
    for path in sorted((run / "tables").glob("*.parquet")):
        table = read_predictions(path)
        table = replace(table, groups=groups_of([known[name] for name in table.id.tolist()]))
        if name.startswith("across") and not path.name.startswith(name.split("-")[1]):
            continue
        keep_table(KEPT / f"{name}-{path.stem}.parquet", table)
        if name in WHOLE:
            keep_table(KEPT / f"{name}-first-{path.stem}.parquet", _first(run, table))
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    ran = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    told = {"machine": ran["machine"], "date": ran["started"][:10], **metrics.get("stages", {})}
    told["speech"] = metrics["speech"]
    (KEPT / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _first(run: Path, table: Any) -> Any:
    """The part of a table that the first folds tested."""
    folds = json.loads((run / "folds.json").read_text(encoding="utf-8"))["folds"][:FIRST]
    first = table.select(np.isin(table.fold, [fold["name"] for fold in folds]))
    protocol = f"{table.meta['protocol']}; first folds: {FIRST}"
    return replace(first, meta={**table.meta, "protocol": protocol})


def keep_svm() -> None:
    """The same of the classifier on functionals, corpus by corpus."""
    from voicetone.evaluation.table import read_predictions

    for space in SPACES:
        folder = RUNS / f"svm-{space}" / "predictions"
        if not folder.exists():
            continue
        table = read_predictions(folder)
        for corpus in CORPORA:
            mine = table.select(table.corpus == corpus)
            used = [k for k, name in enumerate(mine.labels) if name in set(mine.truth.tolist())]
            names = tuple(mine.labels[k] for k in used)
            rule = f"{space}, {len(names)} classes ({', '.join(names)})"
            scores = mine.scores[:, used]
            small = replace(
                mine,
                labels=names,
                scores=scores,
                predicted=np.array(names)[scores.argmax(axis=1)],
                meta={**mine.meta, "label_rule": rule},
                probabilities=False,
            )
            keep_table(KEPT / f"svm-{corpus}-{space}.parquet", small)


def keep_table(path: Path, table: Any) -> None:
    """Write a table of predictions, rounded and without the paths of this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = replace(table, scores=np.round(table.scores, DIGITS), audio=np.full(len(table), ""))
    small.write(path)


def rows() -> list[Row]:
    """Both metrics of each system on each corpus and label space, as far as they are there."""
    from voicetone.evaluation.results import result_row

    found = []
    for name in [*SYSTEMS, *FIRSTS, "svm", "text"]:
        for corpus in CORPORA:
            for space in SPACES:
                path = KEPT / f"{name}-{corpus}-{space}.parquet"
                if path.exists():
                    found += _rows(name, corpus, space, path, result_row)
    return found


def _rows(name: str, corpus: str, space: str, path: Path, made: Any) -> list[Row]:
    from voicetone.evaluation.significance import difference
    from voicetone.evaluation.table import read_predictions

    base = f"across-{corpus}-{BASELINE}" if name.startswith("across") else BASELINE
    if name in PARTS or name == "acoustic-first":
        base = "acoustic-first" if name == "not-frozen" else "hybrid-first"
    other = KEPT / f"{base}-{corpus}-{space}.parquet"
    known = other if name not in (base, "hybrid-first") and other.exists() else None
    more: Row = {"system": name, "space": space}
    if known is not None:
        apart = difference(read_predictions(path), read_predictions(known))
        more["difference"] = round(apart.value, 4)
    return [made(path, RESULTS, metric, known, **more) for metric in METRICS]


def main(names: list[str]) -> None:
    """Train what is named, and write the page of what there is."""
    from voicetone.evaluation.results import write_results
    from voicetone.training.tone_corpora import read_corpora

    for name in names:
        train(name)
    known = {u.id: u for manifest in read_corpora(recipe_of("hybrid")) for u in manifest}
    for name in SYSTEMS:
        keep(name, known)
    keep_svm()
    if (RUNS / "hybrid" / "folds.json").exists():
        for (corpus, space), table in text_only(recipe_of("hybrid")).items():
            keep_table(KEPT / f"text-{corpus}-{space}.parquet", table)
    found = rows()
    write_results(RESULTS / "voice-tone.json", found)
    (RESULTS / "voice-tone.md").write_text(page(found, KEPT), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
