"""`latents.md`: a page of plain sentences and tables about a run's codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_KINDS = ("z", "y", "features")
_PAIRS = 3  # pairs of classes whose features are printed


def markdown(
    found: Mapping[str, Any], swapped: Mapping[str, Mapping[str, Any]], figures: Sequence[str]
) -> str:
    """The page.

    Args:
        found: what `latents.json` holds.
        swapped: what `swapped.json` holds: of each y; empty for a baseline.
        figures: names of the pictures beside the page.
    """
    lines = [f"# Latents of {found['run']}", "", *_about(found), "", "## What the codes know", ""]
    lines += [*_probes(found), ""]
    for name, result in swapped.items():
        heading = "## Reconstruction with y swapped"
        lines += [heading if len(swapped) == 1 else f"{heading}: {name}", ""]
        lines += [*_swaps(result), ""]
    if figures:
        lines += ["## Figures", "", *(f"![{name}]({name})" for name in figures), ""]
    return "\n".join(lines)


def _about(found: Mapping[str, Any]) -> Iterator[str]:
    count, folds = len(found["networks"]), found["folds"]
    of = "all folds" if count == folds else f"{count} of {folds} folds"
    yield (
        f"{found['utterances']} utterances; {found['label']}; {found['protocol']}. Networks of "
        f"seed {found['seed']}, {of}."
    )
    yield ""
    broken = [net["fold"] for net in found["networks"] if not net["finished"]]
    if broken:
        yield (
            f"**Not finished: {len(broken)} of {count} networks (fold {', '.join(broken)}) have no "
            "predictions. Their training diverged, and these are the weights from before that, or "
            "the predictions were removed. Nothing here is what a finished training gives.**"
        )
        yield ""
    exported = found["exported"]["utterances"]
    codes = f"y and z ({found['style']} dimensions)" if found["style"] else "y; a baseline has no z"
    yield (
        f"`latents.parquet` has {exported} test utterances, each encoded by the network of the "
        f"fold that tests its speaker, whom that network has not met: {codes}. The axes of z are "
        "each network's own: compare z within a fold only."
    )
    yield ""
    yield "| fold | trained on | validated on | tested on |"
    yield "|---|---|---|---|"
    for net in found["networks"]:
        parts = [_listed(net[key]) for key in ("trained_on", "validated_on", "tested_on")]
        yield f"| {net['fold']} | {' | '.join(parts)} |"


def _listed(names: Sequence[str]) -> str:
    shown = [n.rsplit("/", 1)[-1] for n in names[:12]]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(shown) + more if names else "–"


def _probes(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "A linear probe (logistic regression on standardised values, classes weighted alike) is "
        "trained and tested on what one network makes of all utterances, those of the speakers it "
        "was trained on included, whose y and z are surer. *UAR* is in per cent, the mean over "
        "networks with their SD; *strangers*: over the utterances of each network's test speakers "
        "alone; *shuffled*: the same probe on shuffled labels, and the SD over networks; what is "
        "one per speaker, such as sex, is shuffled over the speakers. *Features* are what the "
        "network hears, normalised as it hears them."
    )
    yield ""
    yield "| asked | of | UAR | strangers | shuffled | chance |"
    yield "|---|---|--:|--:|--:|--:|"
    for probe in found["probes"]:
        for kind in _KINDS:
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


def _swaps(result: Mapping[str, Any]) -> Iterator[str]:
    error, mean = result["reconstruction_error"], result["error_of_the_mean"]
    share = 100 * (1 - error / mean)
    against = f"{share:.1f} % less than the mean of the training utterances has"
    if share <= 0:
        against = "that is no better than the mean of the training utterances"
    yield (
        f"Of {result['utterances']} test utterances. The decoder gives the features back with a "
        f"mean squared error of {error:.3f}; {against} ({mean:.3f}). Distances are in standard "
        "deviations of each feature over the training utterances."
    )
    yield ""
    yield (
        "With y put to a class and z kept, x̂ moves so far (root mean square over features, from "
        "x̂ of the utterance's own y), and the encoder reads the class back from so many:"
    )
    yield ""
    yield "| y put to | x̂ moves | error against x | read back |"
    yield "|---|--:|--:|--:|"
    for row in result["by_class"]:
        back = 100 * row["read_back"]
        yield f"| {row['class']} | {row['moved']:.3f} | {row['error']:.3f} | {back:.1f} % |"
    yield ""
    yield (
        f"Over all classes {100 * result['read_back_swapped']:.1f} % are read back; chance is "
        f"{100 / len(result['classes']):.1f} %. Of x̂ with its own y, the same class as from x is "
        f"read in {100 * result['read_back_unswapped']:.1f} %."
    )
    pairs = sorted(result["between"], key=lambda pair: -pair["rms"])[:_PAIRS]
    yield ""
    yield (
        f"Features that move most between two classes (mean change; the {len(pairs)} pairs that "
        "are farthest apart; `swapped.json` has all):"
    )
    for pair in pairs:
        yield ""
        yield f"| {pair['from']} → {pair['to']} | change in SD |"
        yield "|---|--:|"
        for entry in pair["features"]:
            yield f"| `{entry['feature']}` | {entry['change']:+.3f} |"
