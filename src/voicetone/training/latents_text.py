"""What is told in the same words of every kind of latents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST = 12  # speakers that a cell lists


def fold_table(networks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Who trained, validated and tested each network."""
    yield "| fold | trained on | validated on | tested on |"
    yield "|---|---|---|---|"
    for net in networks:
        parts = [_listed(net[key]) for key in ("trained_on", "validated_on", "tested_on")]
        yield f"| {net['fold']} | {' | '.join(parts)} |"


def _listed(names: Sequence[str]) -> str:
    shown = [name.rsplit("/", 1)[-1] for name in names[:_MOST]]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(shown) + more if names else "–"


def probe_table(found: Mapping[str, Any], kinds: Sequence[str], surer: str) -> Iterator[str]:
    """What linear probes know from each kind of values.

    Args:
        found: with `probes` and `not_asked`.
        kinds: of values, in the order of the table.
        surer: what is surer of the speakers that a network was trained on.
    """
    yield (
        "A linear probe (logistic regression on standardised values, classes weighted alike) is "
        "trained and tested on what one network makes of all utterances, those of the speakers it "
        f"was trained on included, whose {surer} are surer. *UAR* is in per cent, the mean over "
        "networks with their SD; *strangers*: over the utterances of each network's test speakers "
        "alone; *shuffled*: the same probe on shuffled labels, and the SD over networks; what is "
        "one per speaker, such as sex, is shuffled over the speakers. *Features* are what the "
        "network hears, normalised as it hears them."
    )
    yield ""
    yield "| asked | of | UAR | strangers | shuffled | chance |"
    yield "|---|---|--:|--:|--:|--:|"
    for probe in found["probes"]:
        for kind in kinds:
            if kind in probe["from"]:
                yield f"| {probe['question']} | {kind} | {_scores(probe['from'][kind], probe)} |"
    yield ""
    for probe in found["probes"]:
        note = f"; {probe['note']}" if probe["note"] else ""
        yield (
            f"- {probe['question']}: {probe['utterances']} utterances, {probe['splits']} splits, "
            f"tested on {_tested(probe['tested_on'])}{note}."
        )
    for sentence in found["not_asked"]:
        yield f"- {sentence[0].upper()}{sentence[1:]}."


def _tested(words: str) -> str:
    if words == "others":
        return "other utterances of the same speakers"
    return f"{words} than the probe was trained on"


def _scores(entry: Mapping[str, Any], probe: Mapping[str, Any]) -> str:
    score, held = entry["uar"], entry["held_out_uar"]
    strangers = "–" if held is None else f"{100 * held:.1f}"
    others = f"{_spread(entry['shuffled'])} | {100 * probe['chance']:.1f}"
    return f"{_spread(score)} | {strangers} | {others}"


def _spread(score: Mapping[str, Any]) -> str:
    spread = "" if score["sd"] is None else f" ± {100 * score['sd']:.1f}"
    return f"{100 * score['mean']:.1f}{spread}"
