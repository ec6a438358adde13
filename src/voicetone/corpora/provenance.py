"""Who said what stands in a manifest: a person, or a machine.

`extra` of an utterance may hold `FIELD_source`, which names a provider, its model and version. A
value without a source is a person's.
"""

from __future__ import annotations

from collections.abc import Sequence

from voicetone.types import Utterance


def source_of(utterance: Utterance, field: str) -> str | None:
    """The machine that gave a field's value; None if a person did or there is none."""
    return utterance.extra.get(f"{field}_source") or None


def machine_note(utterances: Sequence[Utterance], field: str) -> str | None:
    """What to know of labels that no person gave; None if people gave all."""
    found = [said for u in utterances if (said := source_of(u, field)) is not None]
    if not found:
        return None
    names = sorted(set(found))
    return (
        f"{len(found)} of {len(utterances)} utterances have their {field} from a machine "
        f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''}): scores on them say how alike "
        "two machines are, not who is right"
    )
