"""What a robustness sweep scores: which utterances, which labels, which sounds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from voicetone.cli.output import complain
from voicetone.cli.sweep import Plan
from voicetone.errors import DataError, UsageError

if TYPE_CHECKING:
    from voicetone.augment.changes import Change
    from voicetone.corpora.manifest import Manifest
    from voicetone.evaluation.table import PredictionTable
    from voicetone.pretrained import BundleSpec
    from voicetone.types import Utterance

OPTIONS = {"noises": "--noise", "coughs": "--noise", "music": "--music", "rooms": "--rooms"}
"""Field of `Sounds` → the option that fills it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is judged, and where sounds come from."""

    space: Literal["emotion", "sentiment"]
    labels: tuple[str, ...]
    rule: str
    limit: int
    seed: int
    noise: Path | None
    music: Path | None
    rooms: Path | None
    folds: tuple[str, ...]


def make_plan(bundle: str, corpus: str, wanted: Wanted) -> tuple[Plan, dict[str, str]]:
    """What is scored, and the facts that tell this sweep from another."""
    from voicetone.cli.features import read_named
    from voicetone.corpora.rules import apply_rule
    from voicetone.pretrained.bundle import find, verify
    from voicetone.pretrained.spec import SPEC_NAME

    folder = find(bundle)
    spec = verify(folder)
    spec.require_extras()
    sounds = {
        **_noises(wanted),
        "music": _sounds(wanted.music),
        "rooms": _sounds(wanted.rooms, without="filter"),
    }
    manifest = read_named(corpus).require_valid(contents=False)
    if wanted.rule:
        manifest = apply_rule(manifest, wanted.rule)
    manifest, truth, labels = _labelled(manifest, spec, wanted)
    facts = {
        "model": spec.id,
        # It holds the hash of each file, so its own stands for the whole bundle.
        "bundle": hashlib.sha256((folder / SPEC_NAME).read_bytes()).hexdigest()[:16],
        "manifest": manifest.hash[:16],
        "label_rule": manifest.rule,
        "label_space": wanted.space,
        "protocol": _protocol(manifest, spec),
        "seed_of_draws": str(wanted.seed),
    }
    if spec.notice:
        complain(spec.notice)
    plan = Plan(folder, wanted.space, labels, manifest.utterances, truth, sounds, wanted.seed)
    return plan, facts


def _labelled(
    manifest: Manifest, spec: BundleSpec, wanted: Wanted
) -> tuple[Manifest, tuple[str, ...], tuple[str, ...]]:
    """The utterances that are used, their labels, and the labels that are told apart.

    Raises:
        DataError: fewer than two labels are left.
    """
    from voicetone.augment.draws import generator

    known = spec.space(wanted.space).labels
    unknown = [label for label in wanted.labels if label not in known]
    if unknown:
        raise UsageError(f"--labels {unknown[0]}: {spec.id} knows {', '.join(known)}")

    def truth_of(u: Utterance) -> str | None:
        return u.label if manifest.rule else u.emotion if wanted.space == "emotion" else u.sentiment

    used = manifest.where(lambda u: truth_of(u) in (wanted.labels or known))
    labels = tuple(label for label in known if label in {truth_of(u) for u in used})
    if len(labels) < 2:
        raise DataError(
            f"{manifest.corpus}: {len(labels)} of the labels of {spec.id} ({', '.join(known)}) "
            "occur in it, two are needed: choose another --space or --rule"
        )
    if wanted.limit:
        order = sorted(u.id for u in used)
        generator(wanted.seed, "limit").shuffle(order)
        chosen = set(order[: wanted.limit])
        used = used.where(lambda u: u.id in chosen)
    return used, tuple(str(truth_of(u)) for u in used), labels


def _protocol(manifest: Manifest, spec: BundleSpec) -> str:
    """Whether the model learnt from this corpus, as its card tells."""
    learnt = {t.corpus.partition(" ")[0].casefold() for t in spec.training}
    shared = sorted(name for name in {u.corpus for u in manifest} if name.casefold() in learnt)
    if shared:
        return f"speaker-dependent: the model learnt from {', '.join(shared)}"
    return "cross-corpus: no corpus of this name among those that the model learnt from"


def _noises(wanted: Wanted) -> dict[str, tuple[Path, ...]]:
    """Environmental noises and coughs."""
    return {
        "noises": _sounds(wanted.noise, wanted.folds, without="cough"),
        "coughs": _sounds(wanted.noise, wanted.folds, only="cough"),
    }


def _sounds(
    folder: Path | None, folds: Sequence[str] = (), *, without: str = "", only: str = ""
) -> tuple[Path, ...]:
    """The files that a folder's manifest names; each must open.

    Raises:
        DataError: no manifest, or no sound in it.
        AudioError: a file that can't be opened.
    """
    from voicetone.audio.decode import open_audio
    from voicetone.corpora.prepared import rows

    if folder is None:
        return ()
    kinds = [(row, row.get("label") or row.get("kind") or "") for row in rows(folder)]
    in_folds = [(r, kind) for r, kind in kinds if not folds or r.get("fold") in folds]
    if not in_folds:
        of = f" of the folds {', '.join(folds)}" if folds else ""
        raise DataError(f"{folder}: its manifest names no sound{of}: choose another folder")
    found = [
        Path(row["path"])
        for row, kind in in_folds
        if not (without and without in kind) and only in kind
    ]
    for path in found:
        with open_audio(path):
            pass
    return tuple(found)


def possible(asked: Sequence[Change], plan: Plan, *, explicit: bool) -> list[Change]:
    """The changes that can be made; of those left out a line says why.

    Raises:
        UsageError: one of them was asked for by name.
    """
    speakers = {u.speaker for u in plan.utterances}
    crowd = len(speakers) > 1 and None not in speakers
    can = {**{k: bool(files) for k, files in plan.sounds.items()}, "voices": crowd}
    left_out: dict[str, str] = {}
    for change in asked:
        if change.needs is not None and not can[change.needs]:
            option = OPTIONS.get(change.needs)
            reason = "two or more speakers, all of them named"
            if option:
                reason = f"{option} FOLDER" + (" with coughs" if change.kind == "cough" else "")
            if explicit:
                raise UsageError(f"--conditions {change.name}: needs {reason}")
            left_out[change.kind] = reason
    for kind, reason in left_out.items():
        complain(f"{kind}: left out, it needs {reason}")
    return [change for change in asked if change.kind not in left_out]


def heard(change: Change | None, wanted: Wanted) -> dict[str, str]:
    """What sounds a condition draws from, by a hash of their manifest."""
    option = OPTIONS.get(change.needs or "") if change is not None else None
    folder = getattr(wanted, option[2:]) if option else None
    if folder is None:
        return {}
    content = (folder / "manifest.csv").read_bytes()
    text = ",".join(wanted.folds if option == "--noise" else ()).encode()
    return {"sounds": hashlib.sha256(content + b"\n" + text).hexdigest()[:16]}


def only_of(plan: Plan, table: PredictionTable) -> Plan:
    """The plan without the utterances that failed."""
    scored = set(table.id.tolist())
    kept = [i for i, u in enumerate(plan.utterances) if u.id in scored]
    return replace(
        plan,
        utterances=tuple(plan.utterances[i] for i in kept),
        truth=tuple(plan.truth[i] for i in kept),
    )
