"""An evaluation as Markdown tables, for a README, a pull request or a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from voicetone.evaluation.counts import NAMES
from voicetone.evaluation.report import facts_of
from voicetone.evaluation.robustness import limit_words

_ACTIVE = re.compile(r"<(?=[A-Za-z/!?])|(?<=!)\[")


def markdown(judgement: Mapping[str, Any], title: str) -> str:
    """The scores of a judgement as Markdown."""
    table = judgement["table"]
    counted = f"{table['utterances']:,} utterances, {table['speakers']:,} speakers"
    if len(table["seeds"]) > 1:
        counted += f", {len(table['seeds'])} seeds"
    facts = "".join(f"- {plain(name)}: {plain(value)}\n" for name, value in facts_of(table, title))
    parts = [f"# {plain(title)}\n", f"{counted}.\n", facts, quoted(judgement["cautions"])]
    parts += _labels(judgement) if judgement["kind"] == "labels" else [_concordance(judgement)]
    return "\n".join(part for part in parts if part)


def quoted(cautions: Sequence[str]) -> str:
    """What to be careful with, as a Markdown quotation."""
    return "".join(f"> {plain(text)}\n>\n" for text in cautions).removesuffix(">\n")


def plain(text: object) -> str:
    """Words in a line of Markdown: no tag and no picture, whatever a table holds."""
    return _ACTIVE.sub(r"\\\g<0>", " ".join(str(text).split()))


def rows(head: Sequence[str], body: Sequence[Sequence[str]], texts: Sequence[int] = (0,)) -> str:
    """A Markdown table, aligned so that it also reads as it is.

    Args:
        head: names of the columns.
        body: a list of cells for each row.
        texts: the columns that hold text; the others hold numbers.
    """
    lines = [[_cell(c) for c in line] for line in (head, *body)]
    widths = [max(3, *(len(line[k]) for line in lines)) for k in range(len(head))]
    aligned = [
        [
            c.ljust(w) if k in texts else c.rjust(w)
            for k, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    rule = ["-" * w if k in texts else "-" * (w - 1) + ":" for k, w in enumerate(widths)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (aligned[0], rule, *aligned[1:]))


def number(value: float | None, digits: int = 3) -> str:
    """A score, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(score: Mapping[str, Any]) -> str:
    """A score's 95 % interval, or a dash."""
    if score["low"] is None:
        return "–"
    between = " to " if score["low"] < 0 else "–"
    return f"{number(score['low'])}{between}{number(score['high'])}"


def _labels(judgement: Mapping[str, Any]) -> list[str]:
    scores = [
        [NAMES[name], number(s["mean"]), number(s["sd"]), interval(s)]
        for name, s in judgement["scores"].items()
    ]
    labels = [
        [
            row["label"],
            f"{row['cases']:,}",
            number(row["recall"]["mean"]),
            interval(row["recall"]),
            number(row["precision"]["mean"]),
            number(row["f1"]["mean"]),
        ]
        for row in judgement["labels"]
    ]
    majority = judgement["majority"]
    always = (
        f"Always “{majority['label']}”: UAR {number(majority['uar'])}, WA {number(majority['wa'])}."
    )
    parts = [
        rows(["score", "mean", "SD over seeds", "95 % interval"], scores),
        f"{always}\n",
        rows(["label", "utterances", "recall", "95 % interval", "precision", "F1"], labels),
    ]
    calibration = judgement["calibration"]
    if calibration:
        parts.append(
            f"Calibration: ECE {number(calibration['ece'])}, NLL {number(calibration['nll'])}, "
            f"Brier {number(calibration['brier'])}, temperature {calibration['temperature']:.2f}.\n"
        )
    groups = [
        [
            f"{kind['kind']}: {group['name']}",
            f"{group['cases']:,}",
            number(group["uar"]),
            f"{group['gap']:+.3f}",
            "within" if group["passed"] else _beyond(group),
        ]
        for kind in judgement["fairness"]
        for group in kind["groups"]
    ]
    if groups:
        head = ["group", "predictions", "UAR", "gap to all", "limits"]
        parts.append(rows(head, groups, texts=(0, 4)))
    effects = [
        [
            effect["name"],
            number(effect["uar"]),
            f"{effect['delta_uar']:+.3f}",
            f"{effect['unchanged']:.1%}",
            limit_words(effect["limit"]),
            "–" if effect["passed"] is None else "within" if effect["passed"] else "**beyond**",
        ]
        for effect in judgement.get("robustness", [])
    ]
    if effects:
        head = ["change of the audio", "UAR", "Δ UAR", "unchanged", "limit", "verdict"]
        parts.append(rows(head, effects, texts=(0, 4, 5)))
    return parts


def _beyond(group: Mapping[str, Any]) -> str:
    return f"**beyond**: {group['beyond']}{'' if group['certain'] else ' (perhaps by chance)'}"


def _concordance(judgement: Mapping[str, Any]) -> str:
    body = [
        [
            c["dimension"],
            f"{c['cases']:,}",
            number(c["mean"]),
            number(c["sd"]),
            interval(c),
            number(c["speaker_mean"]),
        ]
        for c in judgement["concordance"]
    ]
    head = ["dimension", "utterances", "CCC", "SD over seeds", "95 % interval", "CCC per speaker"]
    return rows(head, body)


def _cell(text: str) -> str:
    return plain(text).replace("|", "\\|")
