"""`latents.md`: a page of plain sentences and tables about a run's codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from voicetone.training.latents_text import fold_table, probe_table

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
    lines += [*probe_table(found, _KINDS, "y and z"), ""]
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
    yield from fold_table(found["networks"])


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
