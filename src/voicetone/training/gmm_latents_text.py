"""`latents.md` of codes on a mixture: plain sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from voicetone.training.gmm_match import REACHED
from voicetone.training.latents_text import fold_table, probe_table

_KINDS = ("codes", "features")


def markdown(found: Mapping[str, Any], figures: Sequence[str]) -> str:
    """The page.

    Args:
        found: what `latents.json` holds.
        figures: names of the pictures beside the page.
    """
    lines = [f"# Latents of {found['run']}", "", *_about(found), ""]
    lines += ["## Do strangers' codes follow the mixture?", "", *_match(found), ""]
    lines += ["## What the codes know", "", *probe_table(found, _KINDS, "codes"), ""]
    if figures:
        lines += ["## Figures", "", *(f"![{name}]({name})" for name in figures), ""]
    return "\n".join(lines)


def _about(found: Mapping[str, Any]) -> Iterator[str]:
    networks, folds = found["networks"], found["folds"]
    of = "all folds" if len(networks) == folds else f"{len(networks)} of {folds} folds"
    yield (
        f"{found['utterances']} utterances; {found['label']}; {found['protocol']}. Networks of "
        f"seed {found['seed']}, {of}."
    )
    yield ""
    broken = [net["fold"] for net in networks if not net["finished"]]
    if broken:
        yield (
            f"**Not finished: {len(broken)} of {len(networks)} networks (fold {', '.join(broken)}) "
            "have no predictions. Their training diverged, and these are the weights from before "
            "that, or the predictions were removed.**"
        )
        yield ""
    sizes = found["sizes"]
    several = len(sizes) > 1
    yield (
        f"`latents.parquet` has {found['exported']['utterances']} test utterances, each encoded by "
        "the network of the fold that tests its speaker, whom that network has not met: the code "
        f"({' or '.join(map(str, sizes))} dimensions, `code_0` on) and the probability of each "
        "component (`p_LABEL`). "
        + (
            "Each fold has chosen its size: compare codes of one size only."
            if several
            else "A component is in the same place in every network, so codes can be compared "
            "over folds."
        )
    )
    yield ""
    yield from fold_table(networks)


def _match(found: Mapping[str, Any]) -> Iterator[str]:
    matches = found["match"]
    if matches is None:
        yield (
            "Not known: the run has no match in its `metrics.json`. It stopped before its end, or "
            "its folds chose codes of different sizes."
        )
    else:
        yield f"- The codes as they are: {_verdict(matches['codes'])}"
        yield f"- Stretched on validation speakers: {_verdict(matches['stretched'])}"
        yield ""
        used = "as they are" if found["classifiers_use"] == "codes" else "stretched"
        yield (
            "Compared are the test utterances of all folds, per seed, with as many samples of "
            "each class's component; the AUC is that of a classifier that is to tell the two "
            f"apart. The run's own classifiers use the codes {used}."
        )
    yield from _empty(found)
    likely = found["likeliest_component"]
    yield ""
    yield (
        f"Of the exported codes, as they are, the likeliest component is that of the class with a "
        f"UAR of {100 * likely['uar']:.1f} % (chance {100 / len(likely['components']):.1f} %)."
    )
    yield ""
    yield "| component | test utterances | AUC | said | AUC stretched | said | recall |"
    yield "|---|--:|--:|---|--:|---|--:|"
    for label, row in likely["components"].items():
        cells = [
            cell for kind in ("codes", "stretched") for cell in _component(matches, kind, label)
        ]
        recall = "–" if row["recall"] is None else f"{100 * row['recall']:.1f} %"
        yield f"| {label} | {row['utterances']} | {' | '.join(cells)} | {recall} |"


def _empty(found: Mapping[str, Any]) -> Iterator[str]:
    """Networks that put a class elsewhere even where it was heard in training."""
    for net in found["networks"]:
        missed = {k: v for k, v in net["reached"].items() if v is not None and v < REACHED}
        if missed:
            told = ", ".join(f"{label} ({100 * share:.0f} %)" for label, share in missed.items())
            yield ""
            yield (
                f"**Fold {net['fold']}: not even the training speakers' codes lie in their own "
                f"components: {told}. Samples of these components are not what they are called.**"
            )


def _component(matches: Mapping[str, Any] | None, kind: str, label: str) -> tuple[str, str]:
    """AUC of one component, and what that means."""
    if matches is None:
        return "–", "–"
    auc = matches[kind]["components"].get(label)
    if _unknown(auc):
        return "–", "too few to tell"
    return f"{auc:.3f}", "**fails**" if auc > matches[kind]["limit"] else "follows"


def _verdict(match: Mapping[str, Any]) -> str:
    auc, limit = match["auc"], match["limit"]
    if _unknown(auc):
        return "there are too few of them to tell."
    within = "–" if _unknown(match["within"]) else f"{match['within']:.2f}"
    said = "**they fail to follow the mixture.**" if match["fails"] else "they follow the mixture."
    return (
        f"{said} They can be told from its samples with an AUC of {auc:.2f} all together and "
        f"{within} within the classes (0.5: not at all; more than {limit:.2f} is a failure); their "
        "mean distance from the middle is "
        f"{match['mean_distance']:.2f}, that of samples {match['prior_distance']:.2f}."
    )


def _unknown(auc: float | None) -> bool:
    return auc is None or math.isnan(auc)
