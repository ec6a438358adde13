"""What personal calibration gains and costs, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voicetone.evaluation.personal_splits import ALIKE, CALL, HALF, LABELLED, ONE
from voicetone.evaluation.report import p_value
from voicetone.evaluation.report_text import number, quoted, rows

TITLES = {
    ALIKE: "Unlabelled clips as they come",
    HALF: "Unlabelled clips, half of them of one label",
    ONE: "Unlabelled clips, all of one label",
    CALL: "A call of one tone: enrolment and tested clips are half of one label",
    LABELLED: "Labelled clips",
}
HEAD = (
    "clips",
    "method",
    "UAR without",
    "UAR",
    "difference",
    "95 % interval",
    "p",
    "to another's",
    "WA",
    "ECE",
    "worse for",
    "verdict",
)
TEXTS = (1, 11)


def markdown(measured: Mapping[str, Any], title: str) -> str:
    """The whole of a measurement."""
    facts = (
        f"{measured['utterances']:,} utterances, {measured['speakers']} speakers, "
        f"{_counted(measured['seeds'], 'seed')}, {_counted(measured['splits'], 'split')}."
    )
    parts = [f"# {title}\n", f"{facts}\n", quoted(measured["cautions"]), *tables(measured, "##")]
    return "\n".join(part for part in parts if part)


def tables(measured: Mapping[str, Any], heading: str) -> list[str]:
    """A table per kind of enrolment under headings of this level."""
    parts = []
    for kind, title in TITLES.items():
        body = [_row(r) for r in measured["rows"] if r["enrolment"] == kind]
        if body:
            parts += [f"{heading} {title}\n", rows(HEAD, body, texts=TEXTS)]
    return parts


def _row(row: Mapping[str, Any]) -> list[str]:
    per = " per label" if row["enrolment"] == LABELLED else ""
    return [
        f"{row['clips']}{per}" + ("" if per else _had(row)),
        row["method"],
        number(row["uar_without"]),
        number(row["uar"]),
        _signed(row["difference"]),
        "–" if row["low"] is None else f"{_signed(row['low'])} to {_signed(row['high'])}",
        p_value(row["p"]),
        _signed(row["over_control"]),
        f"{row['wa_without']:.3f} → {row['wa']:.3f}",
        f"{row['ece_without']:.3f} → {row['ece']:.3f}",
        f"{row['worse']} of {row['speakers']}",
        f"**{row['verdict']}**" if row["verdict"] == "worse" else row["verdict"],
    ]


def _had(row: Mapping[str, Any]) -> str:
    """In brackets how many clips there were, where speakers have fewer than asked for."""
    return f" ({row['used']:.1f})" if row["used"] < row["clips"] - 0.05 else ""


def _signed(value: float) -> str:
    """With its sign; a zero is no negative one."""
    return f"{round(value, 3) + 0.0:+.3f}"


def _counted(number_of: int, thing: str) -> str:
    return f"{number_of} {thing}{'' if number_of == 1 else 's'}"
