"""The page about what was measured, from the figures alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LIMIT_MS = 500.0
PER_STREAM_MB = 2.0
GROWTH_PERCENT = 1.0
QUIET = 0.05
"""Share of the cores that other processes may take before figures are called disturbed."""

Row = dict[str, Any]

HEAD = """# What one core carries

Made by `{command}` on {machine}; {dates}.

`voicetone serve` with one worker and its store (SQLite) on, kept to one core, with the bundle
{model}. The load is another process on another core, over loopback: calls of one channel at 8 kHz
in real time, {seconds:g} s each, begun over {ramp:g} s.

- **lag**: from the moment that the frame with a window's last sample was handed to the socket to
  the moment that the window's event came back, both by one clock. Twilio is told nothing of
  windows: there it is the moment that the event was made, which the store has. Only windows that
  ended while all calls spoke count.
- **own lag**: what the server itself says in `lag_ms`, from the last sample's arrival.
- **dropped**: windows that should have come and did not.
- **CPU**: of the worker, of its core. *Others*: what other processes took of both cores meanwhile;
  above {quiet:.0%} the row is marked, since then it says less.
"""

CURVES = {
    "native": "Binary frames of 100 ms",
    "twilio": "Twilio's JSON frames of 20 ms",
}


def page(found: Row) -> str:
    """The page in Markdown."""
    sizes, parts = found["sizes"], found["parts"]
    dates = sorted({part["date"] for part in parts.values() if "date" in part})
    text = HEAD.format(
        command=found["command"],
        machine=found["machine"],
        dates=", ".join(dates) or "not measured yet",
        model=sizes["model"].rpartition("/")[2],
        seconds=sizes["seconds"],
        ramp=sizes["ramp"],
        quiet=QUIET,
    )
    pieces = [text, _summary(parts)]
    for name, title in CURVES.items():
        if rows := _rows(parts, name):
            pieces.append(f"## {title}\n\n{_curve(rows)}\n")
    for name, make in (("overload", _overload), ("idle", _idle), ("cycles", _cycles)):
        if rows := _rows(parts, name):
            pieces.append(make(rows))
    return "\n".join(piece for piece in pieces if piece)


def _rows(parts: Row, name: str) -> list[Row]:
    return list(parts.get(name, {}).get("rows", ()))


def within(row: Row) -> bool:
    """Whether a row of a curve keeps the promise: lag, and every window."""
    lag = row["lag_ms"]
    whole = not any(row[k] for k in ("dropped", "doubled", "gaps", "errors", "defects"))
    return bool(lag) and lag["p99"] <= LIMIT_MS and whole


def _summary(parts: Row) -> str:
    """What was wanted, and what came out."""
    lines = []
    for name, title in CURVES.items():
        if rows := _rows(parts, name):
            most = max((row["calls"] for row in rows if within(row)), default=0)
            lines.append((f"channels on one core with p99 ≤ 500 ms, {title}", str(most), "≥ 100"))
    for row in _rows(parts, "overload"):
        before, during = row["lag_ms_before"], row["lag_ms_during"]
        if before and during:
            said = f"{during['p99']:g} ms, {before['p99']:g} ms before"
            lines.append(("p99 of calls in progress at twice the load", said, "kept"))
    if rows := _rows(parts, "idle"):
        most_kb = max(row["kb_per_stream"] for row in rows)
        lines.append(("memory of an idle stream", f"{most_kb / 1e3:.2f} MB", "≤ 2 MB"))
    for row in _rows(parts, "cycles"):
        title = f"growth over {row['cycles']:,} connections, and as many again"
        told = ", ".join(f"{growth:g} %" for growth in row["growth_percent"])
        lines.append((title, told, "< 1 %"))
    return _table(("what", "measured", "wanted"), lines) + "\n" if lines else ""


def _curve(rows: Sequence[Row]) -> str:
    times = ("p50 ms", "p99 ms", "max ms", "own p99 ms")
    head = ("calls", *times, "dropped", "CPU", "MB", "others", "load late ms")
    lines = []
    for row in rows:
        lag, own = row["lag_ms"] or {}, row["server_lag_ms"] or {}
        lines.append(
            (
                str(row["calls"]),
                *(_number(lag.get(key)) for key in ("p50", "p99", "max")),
                _number(own.get("p99")),
                str(row["dropped"]),
                f"{row['server_cpu']:.0%}",
                f"{row['memory_mb']:.0f}",
                f"{row['other_cpu']:.0%}" + (" (!)" if row["other_cpu"] > QUIET else ""),
                _number(row["load_late_ms"]),
            )
        )
    return _table(head, lines)


def _overload(rows: Sequence[Row]) -> str:
    row = rows[0]
    told = ", ".join(f"{code} {count}" for code, count in sorted(row["refused"].items())) or "none"
    table = _table(
        ("calls in progress", "p50 ms", "p99 ms", "max ms"),
        [
            (name, *(_number((row[key] or {}).get(k)) for k in ("p50", "p99", "max")))
            for name, key in (
                ("alone", "lag_ms_before"),
                ("while as many again knock", "lag_ms_during"),
            )
        ],
    )
    return (
        f"## Twice as many calls as are taken\n\n{row['calls']} calls with `limits.channels = "
        f"{row['calls']}`; in their second half as many callers again try every 1 to 2 s, without "
        f"the patience that they are asked for.\n\n{table}\n\nDropped windows: {row['dropped']}. "
        f"Tries: {row['tries']}; turned down: {told}; of these without `retry_after`: "
        f"{row['refused_without_retry_after']}; taken beyond the limit: "
        f"{row['taken_beyond_the_limit']}.\n"
    )


def _idle(rows: Sequence[Row]) -> str:
    lines = [
        (str(r["streams"]), f"{r['audio_seconds']:g} s", f"{r['kb_per_stream']:g}") for r in rows
    ]
    table = _table(("streams", "audio before", "kB per stream"), lines)
    return f"## Streams that wait\n\nMemory of the worker, per open stream.\n\n{table}\n"


def _cycles(rows: Sequence[Row]) -> str:
    row = rows[0]
    memory = ", ".join(f"{one:g}" for one in row["memory_mb"])
    return (
        f"## Connections that come and go\n\n{len(row['growth_percent'])} times {row['cycles']:,} "
        f"connections in {row['seconds']:g} s after a warm-up of {row['warm_up']:,}: a quarter "
        f"each cut at once, cut while audio comes, cut after half a sample, and ended as it should "
        f"be. Memory of the worker at rest, "
        f"in MB, after the warm-up and each tenth: {memory}. Open files at the end: "
        f"{row['descriptors']}.\n"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruler = [":---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *lines))
