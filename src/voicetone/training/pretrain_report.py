"""The report of a pretraining, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voicetone.training.pretrain_recipe import PretrainRecipe


def report_text(recipe: PretrainRecipe, metrics: Mapping[str, Any]) -> str:
    """The report as Markdown.

    Args:
        recipe: of the run.
        metrics: of `pretrain`, with `audio`, `probes` and, if any, `cautions`.
    """
    lines = [f"# Pretraining {recipe.name}", "", *_audio(recipe, metrics["audio"]), ""]
    lines += _guesses(recipe, metrics)
    lines += _probes(metrics.get("probes", []))
    if metrics.get("cautions"):
        lines += ["", "## Cautions", "", *(f"- {line}" for line in metrics["cautions"])]
    return "\n".join(lines).rstrip() + "\n"


def _audio(recipe: PretrainRecipe, audio: Mapping[str, Any]) -> list[str]:
    held = f"; {recipe.held_out:.0%} of each corpus's speakers held out" if recipe.held_out else ""
    return [
        f"Audio: {', '.join(recipe.audio)}: {audio['hours']:.2f} h in {audio['pieces']} pieces, "
        f"learnt from {audio['train_hours']:.2f} h{held}. "
        f"{audio['left_out']} cautions about recordings and tables are in `log.txt`.",
    ]


def _guesses(recipe: PretrainRecipe, metrics: Mapping[str, Any]) -> list[str]:
    """What became of the task itself, on audio of speakers that were not learnt from."""
    masked, codes, settings = metrics["masked"], metrics["codes"], recipe.settings
    return [
        "## Hidden frames of audio not learnt from",
        "",
        "| | share right |",
        "|---|---|",
        f"| the network | {masked['accuracy']:.3f} |",
        f"| always the most frequent code | {masked['most_frequent']:.3f} |",
        f"| the last code before the gap again | {masked['repeat_last']:.3f} |",
        "",
        f"{masked['frames']} hidden frames, loss {masked['loss']:.3f} nats. Of "
        f"{settings.codebooks} × {settings.codes} codes {codes['used']:.1%} occur, perplexity "
        f"{codes['perplexity']:.1f}. {metrics['steps']} steps took the training loss from "
        f"{metrics['first_loss']:.3f} to {metrics['last_loss']:.3f}.",
    ]


def _probes(probes: Sequence[Mapping[str, Any]]) -> list[str]:
    if not probes:
        return []
    lines = [
        "",
        "## Linear probes (UAR)",
        "",
        "Logistic regression on mean and SD of the frames of a clip, tested on others as named.",
        "",
        "| corpus | asked | tested on | chance | log-mel | untrained | pretrained |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in probes:
        shown = [f"{entry['from'][k]['uar']['mean']:.3f}" for k in _KINDS]
        lines.append(
            f"| {entry['corpus']} | {entry['asks']} | {entry['tested_on']} | "
            f"{entry['chance']:.3f} | {' | '.join(shown)} |"
        )
    lines += ["", "Speakers of the probes that the pretraining heard, without their labels:", ""]
    return lines + [_heard(entry) for entry in probes]


_KINDS = ("log-mel", "untrained", "pretrained")


def _heard(entry: Mapping[str, Any]) -> str:
    """How far the probe is transductive, and its score on the others."""
    name = f"- {entry['corpus']}, {entry['asks']}: "
    if not entry["learnt_from"]:
        return f"{name}none of {entry['speakers']}"
    text = f"{name}{entry['learnt_from']} of {entry['speakers']} (transductive)"
    scores = [entry["from"][k]["held_out_uar"] for k in _KINDS]
    if any(score is None for score in scores):
        return text
    shown = ", ".join(f"{k} {s:.3f}" for k, s in zip(_KINDS, scores, strict=True))
    return f"{text}; UAR on the others alone: {shown}"
