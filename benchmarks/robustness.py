"""What changes of the audio do to tone-small, and the page about it.

    python benchmarks/robustness.py [--write-only]

Runs the sweep that `COMMAND` says, in `runs/robustness`; the predictions are kept, without the
paths of recordings, in `docs/results/robustness/`. From them alone come the page and the JSON file
beside that folder; `--write-only` makes just these again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "runs" / "robustness"
RESULTS = ROOT / "docs" / "results"
KEPT = RESULTS / "robustness"
COMMAND = (
    "voicetone robustness tone-small emodb --labels anger,happiness,neutral,sadness "
    "--noise $VOICETONE_DATA/noise_esc10 --noise-folds 5 --rooms $VOICETONE_DATA/rir "
    "--out runs/robustness"
)
PAGE = """# Robustness of tone-small

Made by `python benchmarks/robustness.py`, which runs

```text
{command}
```

{minutes}What the changes are and what the limits mean: [Evaluation](../evaluation.md#robustness).

**Read this first.** The shipped weights learnt from EMO-DB: all {speakers} speakers below were in
training, and so were the rooms. The UAR is therefore no accuracy on new speakers (held-out figures
are printed by `voicetone models info tone-small`), and new speakers may lose more than these.
The noises are of a fold that was not trained on. What the table does show is how often a change of
the audio changes the answer.

- {utterances} utterances, EMO-DB's four complete classes; unchanged audio: UAR {uar:.3f}.
- *no speech*: share of the utterances in which the model hears none; each counts as a wrong answer,
  and as a changed one.
- There is no music and no cough among the sounds at hand, and no AMR-NB coder: the telephones are
  G.711 and GSM 06.10 in its place.

{table}
{verdict}
"""


def sweep() -> float:
    """Run the command and keep its tables; the minutes that it took."""
    from voicetone.cli.main import run
    from voicetone.evaluation.table import read_predictions

    words = os.path.expandvars(COMMAND).split()[1:]
    started = time.monotonic()
    os.chdir(ROOT)
    if code := run(words):
        raise SystemExit(code)
    minutes = (time.monotonic() - started) / 60
    KEPT.mkdir(parents=True, exist_ok=True)
    for path in sorted((RUN / "tables").glob("*.parquet")):
        table = read_predictions(path)
        slim = replace(table, audio=None, groups={})  # type: ignore[arg-type]
        slim.write(KEPT / path.name)
    return minutes


def measure(folder: Path = KEPT) -> dict[str, Any]:
    """Effects and shares without speech, from the kept predictions."""
    from voicetone.augment.changes import changes
    from voicetone.cli.sweep import NO_SPEECH
    from voicetone.evaluation.metrics import uar
    from voicetone.evaluation.robustness import LIMITS, Condition, robustness
    from voicetone.evaluation.table import read_predictions

    tables = {t.meta["condition"]: t for t in map(read_predictions, folder.glob("*.parquet"))}
    clean = tables["clean"]
    found = [
        Condition(c.name, tables[c.name], LIMITS.get(c.name)) for c in changes() if c.name in tables
    ]
    rows = []
    for condition, effect in zip(found, robustness(clean, found), strict=True):
        silent = float((condition.table.predicted == NO_SPEECH).mean())
        rows.append(_rounded({**asdict(effect), "no_speech": silent}))
    return {
        "command": COMMAND,
        "model": clean.meta["model"],
        "bundle": clean.meta["bundle"],
        "protocol": clean.meta["protocol"],
        "utterances": len(clean),
        "speakers": len(clean.speakers),
        "uar": round(uar(clean.truth_codes, clean.predicted_codes), 6),
        "rows": rows,
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}


def page(result: dict[str, Any]) -> str:
    """The page, as Markdown."""
    from voicetone.evaluation.report_text import rows
    from voicetone.evaluation.robustness import limit_words

    head = ["change", "UAR", "Δ UAR", "95 % interval", "unchanged", "no speech", "limit", "verdict"]
    body = [
        [
            row["name"],
            f"{row['uar']:.3f}",
            f"{row['delta_uar']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}",
            f"{row['unchanged']:.1%}",
            f"{row['no_speech']:.1%}",
            limit_words(row["limit"]),
            {None: "–", True: "within", False: "**beyond**"}[row["passed"]],
        ]
        for row in result["rows"]
    ]
    beyond = [row["name"] for row in result["rows"] if row["passed"] is False]
    verdict = (
        f"Beyond the limit: {', '.join(beyond)}." if beyond else "All are within their limits."
    )
    minutes = result.get("minutes")
    took = f"It took {minutes:.1f} minutes on {result['cores']} cores. " if minutes else ""
    return PAGE.format(
        **{**result, "minutes": took},
        table=rows(head, body, texts=(0, 3, 6, 7)),
        verdict=verdict,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-only", action="store_true", help="from the kept predictions")
    write_only = parser.parse_args().write_only
    kept = RESULTS / "robustness.json"
    if write_only:
        before = json.loads(kept.read_text(encoding="utf-8"))
        took = {key: before[key] for key in ("minutes", "cores")}
    else:
        from voicetone.features.workers import cores

        took = {"minutes": round(sweep(), 1), "cores": cores()}
    result = {**measure(), **took}
    kept.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "robustness.md").write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
