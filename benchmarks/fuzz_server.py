"""Every parser of the live server, fed with what is nearly right.

    python benchmarks/fuzz_server.py [--cases N] [--processes N] [--seed N] [--only TARGET]
                                     [--out FILE] [--crashes FOLDER]
    python benchmarks/fuzz_server.py --replay FILE

A case is a small session or document of the kind that a parser knows, changed in a few places:
bytes, or the structure of its JSON, or the order of its messages. Allowed is that it is taken or
refused (`VoicetoneError`); anything else, a case of more than thirty seconds and the death of a
process are crashes, each written to a file that `--replay` runs again. Every case has its own
generator, from the seed, the target and its number, so a run can be repeated in any number of
processes.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "live"))

from fuzzing import TARGETS, Messages, Target, mutated

from voicetone.errors import VoicetoneError

ROOT = Path(__file__).resolve().parents[1]
HANG_SECONDS = 30.0
CRASHES = ROOT / "runs" / "fuzz"
MOST_CRASHES = 20
"""Of a target; after so many it is left alone."""


class HangError(Exception):
    """A case took too long."""


@dataclass
class Tally:
    """What one process, or all of them, saw of a target; seconds are of CPU."""

    cases: int = 0
    taken: int = 0
    refused: int = 0
    crashed: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    slowest_case: int = -1

    def add(self, other: Tally) -> None:
        """Take in what another process saw."""
        for name in ("cases", "taken", "refused", "crashed", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.slowest > self.slowest:
            self.slowest, self.slowest_case = other.slowest, other.slowest_case


@dataclass
class Seen:
    """What one process saw."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    early_mb: float = 0.0
    """Memory after a fifth of its cases."""
    late_mb: float = 0.0
    """Memory at the end."""
    crashes: list[str] = field(default_factory=list)
    """Files that were written."""


def case(target: Target, seed: int, number: int) -> Messages:
    """The input of a case."""
    rng = random.Random(f"{seed}/{target.name}/{number}")
    return mutated(target.corpus[rng.randrange(len(target.corpus))], rng)


def tried(target: Target, messages: Messages) -> bool:
    """Whether a case was taken; False if refused.

    Raises:
        Exception: whatever else comes out of the parser.
    """
    signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
    try:
        target.run(messages)
    except VoicetoneError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
    return True


def _hung(number: int, where: FrameType | None) -> None:
    raise HangError(f"longer than {HANG_SECONDS:g} s")


def fuzz(
    targets: Sequence[Target],
    counts: Mapping[str, range],
    seed: int,
    crashes: Path,
    mark: Any = None,
) -> Seen:
    """Run cases of all targets by turns.

    Args:
        targets: the parsers.
        counts: numbers of each target's cases.
        seed: of all draws.
        crashes: folder for what crashed.
        mark: two numbers shared with the parent: which target and case is being run.
    """
    before = signal.signal(signal.SIGALRM, _hung)
    try:
        return _fuzzed(targets, _order(targets, counts), seed, crashes, mark)
    finally:
        signal.signal(signal.SIGALRM, before)


def _fuzzed(
    targets: Sequence[Target],
    order: list[tuple[Target, int]],
    seed: int,
    crashes: Path,
    mark: Any,
) -> Seen:
    seen = Seen({target.name: Tally() for target in targets})
    for done, (target, number) in enumerate(order):
        tally = seen.tallies[target.name]
        if mark is not None:
            mark[0], mark[1] = targets.index(target), number
        if tally.crashed < MOST_CRASHES:
            _one(target, number, seed, crashes, seen)
        if done == len(order) // 5:
            seen.early_mb = memory_mb()
    seen.late_mb = memory_mb()
    return seen


def _order(targets: Sequence[Target], counts: Mapping[str, range]) -> list[tuple[Target, int]]:
    """All cases, the targets mixed evenly, so that memory can be looked at on the way."""
    placed = [
        ((at + 0.5) / len(counts[target.name]), index, number)
        for index, target in enumerate(targets)
        for at, number in enumerate(counts[target.name])
    ]
    return [(targets[index], number) for _, index, number in sorted(placed)]


def _one(target: Target, number: int, seed: int, crashes: Path, seen: Seen) -> None:
    tally = seen.tallies[target.name]
    messages = case(target, seed, number)
    tally.cases += 1
    began = time.process_time()
    try:
        if tried(target, messages):
            tally.taken += 1
        else:
            tally.refused += 1
    except Exception:
        tally.crashed += 1
        trace = traceback.format_exc()
        seen.crashes.append(str(keep(crashes, target, seed, number, messages, trace)))
    took = time.process_time() - began
    tally.seconds += took
    if took > tally.slowest:
        tally.slowest, tally.slowest_case = took, number


def keep(
    folder: Path, target: Target, seed: int, number: int, messages: Messages, trace: str
) -> Path:
    """Write down what crashed, so that it can be run again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target.name}-{seed}-{number}.json"
    said = {
        "target": target.name,
        "seed": seed,
        "case": number,
        "messages": [
            {"text": m.encode("utf-8", "surrogatepass").hex()}
            if isinstance(m, str)
            else {"bytes": m.hex()}
            for m in messages
        ],
        "trace": trace.splitlines(),
    }
    path.write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    return path


def replay(path: Path, targets: Sequence[Target] = ()) -> bool:
    """Run a crash again.

    Returns:
        Whether it is taken or refused now.

    Raises:
        Exception: what it crashes with.
    """
    said = json.loads(path.read_text("utf-8"))
    known = {target.name: target for target in targets or TARGETS}
    messages = [
        bytes.fromhex(m["bytes"])
        if "bytes" in m
        else bytes.fromhex(m["text"]).decode("utf-8", "surrogatepass")
        for m in said["messages"]
    ]
    signal.signal(signal.SIGALRM, _hung)
    taken = tried(known[said["target"]], messages)
    print(f"{path}: {'taken' if taken else 'refused'}")
    return True


def memory_mb() -> float:
    """What this process has in RAM."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


# -- several processes ---------------------------------------------------------------------------


def shares(targets: Sequence[Target], cases: int, processes: int) -> list[dict[str, range]]:
    """Which cases each process runs: by the targets' weights, at least one of each."""
    whole = sum(target.weight for target in targets)
    out: list[dict[str, range]] = [{} for _ in range(processes)]
    for target in targets:
        count = max(round(cases * target.weight / whole), processes)
        for process in range(processes):
            out[process][target.name] = range(process, count, processes)
    return out


def _child(
    names: list[str], counts: dict[str, range], seed: int, folder: str, mark: Any, pipe: Any
) -> None:
    """One process."""
    logging.disable(logging.WARNING)  # a library tells of each broken form
    targets = [target for target in TARGETS if target.name in names]
    pipe.send(fuzz(targets, counts, seed, Path(folder), mark))


def in_processes(
    targets: Sequence[Target], cases: int, processes: int, seed: int, crashes: Path
) -> tuple[list[Seen], list[str]]:
    """Run all cases.

    Returns:
        What each process saw, and a file for each that died.
    """
    context = multiprocessing.get_context("spawn")
    running = []
    for counts in shares(targets, cases, processes):
        ours, theirs = context.Pipe(duplex=False)
        names = [target.name for target in targets]
        mark = context.RawArray("q", 2)
        words = (names, counts, seed, str(crashes), mark, theirs)
        process = context.Process(target=_child, args=words)
        process.start()
        theirs.close()
        running.append((process, ours, mark))
    seen, dead = [], []
    for process, ours, mark in running:
        try:
            seen.append(ours.recv())
        except EOFError:
            process.join()
            target, number = targets[mark[0]], int(mark[1])
            trace = f"the process died with exit code {process.exitcode}"
            dead.append(str(keep(crashes, target, seed, number, case(target, seed, number), trace)))
        process.join()
    return seen, dead


def summary(seen: Sequence[Seen], dead: Sequence[str], seconds: float, seed: int) -> dict[str, Any]:
    """All processes together, ready for JSON."""
    tallies: dict[str, Tally] = {}
    for one in seen:
        for name, tally in one.tallies.items():
            tallies.setdefault(name, Tally()).add(tally)
    return {
        "seed": seed,
        "cases": sum(tally.cases for tally in tallies.values()),
        "crashes": sum(tally.crashed for tally in tallies.values()),
        "files": [path for one in seen for path in one.crashes],
        "dead_processes": list(dead),
        "seconds": round(seconds, 1),
        "memory_mb": [[round(one.early_mb, 1), round(one.late_mb, 1)] for one in seen],
        "targets": {
            name: {
                "cases": tally.cases,
                "taken": tally.taken,
                "refused": tally.refused,
                "crashed": tally.crashed,
                "mean_ms": round(1e3 * tally.seconds / max(tally.cases, 1), 3),
                "slowest_ms": round(1e3 * tally.slowest, 1),
                "slowest_case": tally.slowest_case,
            }
            for name, tally in tallies.items()
        },
    }


def told(found: Mapping[str, Any]) -> str:
    """The same in lines."""
    lines = [f"{'target':14} {'cases':>8} {'taken':>8} {'refused':>8} crashed  mean ms  slowest ms"]
    for name, row in found["targets"].items():
        counts = f"{row['cases']:8} {row['taken']:8} {row['refused']:8} {row['crashed']:7}"
        lines.append(f"{name:14} {counts} {row['mean_ms']:8.3f} {row['slowest_ms']:11.1f}")
    memory = ", ".join(f"{early:g} → {late:g}" for early, late in found["memory_mb"])
    lines.append(
        f"{found['cases']} cases in {found['seconds']:g} s, seed {found['seed']}: "
        f"{found['crashes']} crashes, {len(found['dead_processes'])} processes died; "
        f"MB after a fifth and at the end: {memory}"
    )
    return "\n".join(
        [*lines, *(f"crashed: {path}" for path in found["files"] + found["dead_processes"])]
    )


def main(arguments: list[str] | None = None) -> int:
    """Fuzz; exit code 1 if anything crashed."""
    parser = argparse.ArgumentParser(description="Fuzz the live server's parsers.")
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", help="a target; may come several times")
    parser.add_argument("--crashes", type=Path, default=CRASHES, help="folder for what crashed")
    parser.add_argument("--out", type=Path, help="JSON file for the outcome")
    parser.add_argument("--replay", type=Path, help="run a crash again")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        return 0 if replay(options.replay) else 1
    names = Counter(options.only or [target.name for target in TARGETS])
    if unknown := set(names) - {target.name for target in TARGETS}:
        parser.error(f"no target {sorted(unknown)[0]}")
    targets = [target for target in TARGETS if target.name in names]
    began = time.monotonic()
    seen, dead = in_processes(
        targets, options.cases, options.processes, options.seed, options.crashes
    )
    found = summary(seen, dead, time.monotonic() - began, options.seed)
    print(told(found))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 1 if found["crashes"] or dead else 0


if __name__ == "__main__":
    raise SystemExit(main())
