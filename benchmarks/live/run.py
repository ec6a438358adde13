"""How many calls a core of the live server carries, and what happens beyond.

    python benchmarks/live/run.py [PART ...] [--again] [--tiny] [--model NAME|PATH] [--out FOLDER]

Parts: native, twilio (curves up to saturation), overload, idle, cycles; all by default. The server
is `voicetone serve` with one worker, its store on, kept to one core; the load is this process, on
another core, over loopback. All in all about 15 minutes. It wants an otherwise idle machine: what
other processes used is in the table.

Each row is written to `docs/results/live.json` as soon as it is known, and the page beside it; what
is there already, of the same sizes and on the same machine, is not measured again without
`--again`. `--tiny` tries everything with sizes that say nothing, and writes where `--out` says.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from page import page
from parts import PARTS, TINY, Sizes, pin_load
from under_test import ROOT, MeasureError, machine

RESULTS = ROOT / "docs" / "results"
COMMAND = "python benchmarks/live/run.py"


def main(arguments: list[str] | None = None) -> int:
    """Measure; the exit code."""
    parser = argparse.ArgumentParser(description="Measure the live server.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    parser.add_argument("--tiny", action="store_true", help="sizes that say nothing, to try it")
    parser.add_argument("--model", default="tone-small", help="bundle")
    parser.add_argument("--out", type=Path, default=None, help="folder of live.json and live.md")
    options = parser.parse_args(arguments)
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]}: {', '.join(PARTS)}")
    if options.out is None and (options.tiny or options.model != Sizes.model):
        parser.error("name a folder by --out: these are not the published figures")
    model = Path(options.model)
    options.model = str(model.resolve()) if model.is_dir() else options.model
    sizes = replace(TINY if options.tiny else Sizes(), model=options.model)
    out: Path = options.out or RESULTS
    out.mkdir(parents=True, exist_ok=True)
    try:
        pin_load()
        measure(out, options.parts or list(PARTS), sizes, options.again)
    except MeasureError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def measure(out: Path, parts: list[str], sizes: Sizes, again: bool) -> None:
    """Run parts, keeping each row."""
    path = out / "live.json"
    here = {"machine": machine(), "sizes": json.loads(json.dumps(asdict(sizes)))}
    found = read(path, here)
    for part in parts:
        entry = found["parts"].setdefault(part, {"rows": [], "done": False})
        if again:
            entry.update(rows=[], done=False)
        if entry["done"]:
            print(f"{part}: measured already", flush=True)
            continue
        for row in PARTS[part](sizes, len(entry["rows"])):
            busy = round(os.getloadavg()[0], 1)
            entry["rows"].append({**row, "load_average": busy})
            entry["date"] = date.today().isoformat()
            print(f"{part}: {json.dumps(row)}", flush=True)
            write(path, found)
        entry["done"] = True
        write(path, found)


def read(path: Path, here: dict[str, Any]) -> dict[str, Any]:
    """What was measured before, if here and with these sizes."""
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if {key: found.get(key) for key in here} == here:
            return found
    return {"command": COMMAND, **here, "parts": {}}


def write(path: Path, found: dict[str, Any]) -> None:
    """The figures, and the page about them."""
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    path.with_suffix(".md").write_text(page(found), "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
