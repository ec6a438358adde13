"""Write the table of measured numbers into the README.

    python benchmarks/readme.py [--check]

Each `benchmarks/results/*.json` holds one benchmark's outcome:

    {"command": "python benchmarks/bench_speed.py", "machine": "2 cores …", "date": "2026-11-21",
     "rows": [{"what": "one core, long file", "measured": "412x real time", "wanted": ">= 300"}]}

With `--check` nothing is written: the exit code is 1 if the README is not what it would be.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
NOTHING = "Nothing has been measured yet: `make bench`."


def table(results: Path) -> str:
    """The Markdown table of all results in a folder, files in order of name.

    Raises:
        ValueError: a result lacks one of its keys; the message names file and key.
    """
    lines = ["| what | measured | wanted | made by |", "|---|---|---|---|"]
    machines: dict[str, None] = {}
    for path in sorted(results.glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            machines[f"{result['machine']}, {result['date']}"] = None
            lines += [
                f"| {row['what']} | {row['measured']} | {row['wanted']} | `{result['command']}` |"
                for row in result["rows"]
            ]
        except KeyError as missing:
            raise ValueError(f"{path}: the key {missing} is missing") from None
    if not machines:
        return NOTHING
    return "\n".join([*lines, "", "Machine and date: " + "; ".join(machines) + "."])


def fill(readme: str, content: str) -> str:
    """The README's text with the marked block replaced.

    Raises:
        ValueError: the marks are not there, or not once each.
    """
    if readme.count(START) != 1 or readme.count(END) != 1:
        raise ValueError(f"the README must hold {START} and {END} once each")
    before, rest = readme.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n{content}\n{END}{after}"


def main() -> int:
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = fill(old, table(ROOT / "benchmarks" / "results"))
    if "--check" in sys.argv[1:]:
        if new != old:
            print("README.md is not up to date: python benchmarks/readme.py", file=sys.stderr)
        return int(new != old)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
