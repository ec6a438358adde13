"""Train the baselines on the prepared corpora and write their table.

    VOICETONE_DATA=DIR python benchmarks/baselines.py [NAME...]

Each run is a recipe with overrides and goes into `runs/baselines/NAME`; NAMEs choose some. Without
NAMEs, those are run whose predictions are not in `docs/results/baselines` yet. From these
predictions `docs/results/baselines.json` and `.md` are made.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "baselines"
RESULTS = ROOT / "docs" / "results"
FOLDER = RESULTS / "baselines"
CORPORA = ("emodb4", "emodb7", "ravdess16", "nemo3")
SPEAKER = ["features.normalise=speaker"]
RBF = ["model.name=rbf-svm"]
METRICS = ("uar", "wa")
HEADS = ("corpus", "labels", "features", "model", "seeds")

ABOUT = """# Baselines

Made by `python benchmarks/baselines.py` with the recipes in `recipes/`; each row can be computed
again from the predictions beside this page: `voicetone evaluate --recompute
docs/results/baselines.json`. What the protocols mean: [Protocols](../protocols.md).

- UAR and WA of the predictions pooled over folds; with several seeds their mean and SD. The
  interval is a 95 % bootstrap over speakers; with fewer than five speakers there is none.
- `p`: against the linear SVM with global normalisation on the same corpus.
- *per speaker* normalisation uses the unlabelled audio of the test speaker.
- EMO-DB's seven classes are cut to 2.0 s, because three of them are in the copy used.
- Every sentence of these corpora is spoken in every emotion by every speaker, so each tested
  sentence is in training too, spoken by others.
- openSMILE is for research and education only.
"""


def runs() -> dict[str, tuple[str, list[str]]]:
    """Name → recipe and overrides; the first of each corpus is the baseline of its others."""
    found = {}
    for corpus in CORPORA:
        svm = f"svm-{corpus}"
        found[svm] = (svm, [])
        found[f"{svm}-rbf-c1"] = (svm, [*RBF, "model.C=1.0"])
        found[f"{svm}-rbf-c10"] = (svm, [*RBF, "model.C=10.0"])
        found[f"{svm}-speaker"] = (svm, SPEAKER)
        found[f"{svm}-rbf-c1-speaker"] = (svm, [*SPEAKER, *RBF, "model.C=1.0"])
        found[f"{svm}-rbf-c10-speaker"] = (svm, [*SPEAKER, *RBF, "model.C=10.0"])
        inner = 2 if corpus == "nemo3" else 3  # groups of training speakers
        grid = ["model.C=[1e-5, 1e-4, 1e-3]", "selection.on=inner", f"selection.inner={inner}"]
        found[f"{svm}-nested"] = (svm, grid)
        found[f"mlp-{corpus}"] = (f"mlp-{corpus}", [])
        found[f"cnn-{corpus}"] = (f"cnn-{corpus}", [])
    found["lstm-emodb4"] = ("lstm-emodb4", [])
    return found


def train(names: list[str]) -> None:
    """The runs that are asked for; if none is, those without results."""
    from voicetone.training.run import train as run

    known = runs()
    for name in names or [n for n in known if not (FOLDER / f"{n}.parquet").exists()]:
        recipe, overrides = known[name]
        run(ROOT / "recipes" / f"{recipe}.toml", [*overrides, f"out={RUNS / name}"])


def table() -> list[dict[str, object]]:
    """Rows of all results; the predictions of runs that are done are put beside the page first."""
    from voicetone.evaluation.results import result_row
    from voicetone.evaluation.table import read_predictions

    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in runs():
        path = FOLDER / f"{name}.parquet"
        if (RUNS / name / "metrics.json").exists():
            found = read_predictions(RUNS / name / "predictions")
            replace(found, audio=np.full(len(found), "")).write(path)  # no paths of this machine
        if not path.exists():
            continue
        base = FOLDER / f"svm-{name.split('-')[1]}.parquet"
        against = base if base.exists() and base != path else None
        rows += [result_row(path, RESULTS, m, against, run=name) for m in METRICS]
    return rows


def page(rows: list[dict[str, object]]) -> str:
    """The page with a table per corpus."""
    lines = [ABOUT]
    for protocol in dict.fromkeys(
        (str(r["corpus"]), str(r["labels"]), str(r["protocol"])) for r in rows
    ):
        chosen = [r for r in rows if (r["corpus"], r["labels"], r["protocol"]) == protocol]
        lines += [f"## {protocol[2]}", "", f"{protocol[1].capitalize()}.", ""]
        lines += ["| run | features | model | seeds | UAR | SD | interval | p | WA |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for row in chosen:
            if row["metric"] != "uar":
                continue
            wa = next(r for r in chosen if r["run"] == row["run"] and r["metric"] == "wa")
            features = str(row["features"]).replace(
                "; normalised with the statistics of the training set", ""
            )
            features = features.replace(
                "; normalised per speaker: uses the unlabelled audio of test speakers",
                ", per speaker",
            )
            interval = "–" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
            cells = [row["run"], features, row["model"], row["seeds"], f"{row['mean']:.3f}"]
            cells += [_number(row["sd"]), interval, _number(row["p"]), f"{wa['mean']:.3f}"]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        lines.append("")
    return "\n".join(lines)


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "–"


if __name__ == "__main__":
    from voicetone.evaluation.results import write_results

    train(sys.argv[1:])
    made = table()
    write_results(RESULTS / "baselines.json", made)
    (RESULTS / "baselines.md").write_text(page(made), encoding="utf-8")
