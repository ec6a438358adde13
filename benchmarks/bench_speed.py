"""Measure speed, start-up, memory and size of a bundle on one core.

    python benchmarks/bench_speed.py [--model NAME|PATH] [--out FILE]

The audio is made from the example call, over and over. Everything that is timed runs in a process
of its own, pinned to one core, with `threads=1`, and wants an otherwise idle machine. A start is
cold in that the process is new; its files were read before.
`benchmarks/results/speed.json` is written for the default model at full length; other measurements
are written where `--out` says.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "speed.json"
CALL = ROOT / "examples" / "call.flac"  # two channels, 8 kHz
BLOCK = 60  # s, of audio that is written at once
PACKET = 0.02  # s, what telephone systems send
BUSY = 0.7  # of a core: what one would load it with

Row = dict[str, str]


def make_audio(path: Path, seconds: float, rate: int, channels: int) -> Path:
    """The example call again and again, as 16-bit audio in the format of the path's suffix."""
    call, call_rate = soundfile.read(CALL, dtype="float32", always_2d=True)
    if channels == 1:
        call = call.mean(axis=1, keepdims=True)
    call = soxr.resample(call, call_rate, rate) if rate != call_rate else call
    total, written = round(seconds * rate), 0
    several = np.tile(call, (max(1, BLOCK * rate // len(call)), 1))
    with soundfile.SoundFile(path, "w", rate, channels, "PCM_16") as out:
        while written < total:
            block = several[: total - written]
            out.write(block)
            written += len(block)
    return path


def pin() -> None:
    """Keep this process on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def in_child(function: str, *arguments: Any) -> Any:
    """What one of `CHILDREN` returns in a new process on one core."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", function, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=pin,
    )
    return json.loads(done.stdout)


def time_file(model: str | None, path: str, repeats: int) -> list[float]:
    """Seconds that `analyze` takes with all channels, after a first time that is not counted."""
    import voicetone

    predictor = voicetone.load(model, threads=1)
    voicetone.analyze(CALL, predictor)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        voicetone.analyze(path, predictor)
        times.append(time.perf_counter() - start)
    return times


def time_live(model: str | None, path: str) -> dict[str, list[float]]:
    """Seconds that each push of 20 ms takes, those that complete a window apart."""
    import voicetone

    predictor = voicetone.load(model, threads=1)
    voicetone.analyze(CALL, predictor)
    samples, rate = soundfile.read(path, dtype="float32")
    session = voicetone.LiveSession(predictor, rate)
    size = round(PACKET * rate)
    times: dict[str, list[float]] = {"waiting": [], "complete": []}
    for at in range(0, len(samples) - size + 1, size):
        packet = samples[at : at + size]
        start = time.perf_counter()
        events = session.push(packet)
        times["complete" if events else "waiting"].append(time.perf_counter() - start)
    return times


CHILDREN = {"file": time_file, "live": time_live}


def command(model: str | None, *arguments: object) -> list[str]:
    """A command line of `voicetone analyze`, as a user has it."""
    script = Path(sys.executable).with_name("voicetone")
    start = [str(script)] if script.exists() else [sys.executable, "-m", "voicetone"]
    return [*start, "analyze", *map(str, arguments), *(["--model", model] if model else [])]


def run_command(words: list[str]) -> tuple[float, float]:
    """Seconds and peak memory (MB) of a command on one core."""
    start = time.perf_counter()
    # Its peak counts from the fork on, so this process must stay smaller than what it measures.
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, preexec_fn=pin)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 1e6


def long_files(model: str | None, folder: Path, minutes: float, repeats: int) -> list[Row]:
    """Real-time factor of long files, decoding included, loading the model not."""
    rows = []
    for kind, rate, channels in (("mono, 16 kHz", 16_000, 1), ("stereo, 8 kHz", 8_000, 2)):
        path = make_audio(folder / "long.flac", 60 * minutes, rate, channels)
        times = in_child("file", model, str(path), repeats)
        middle, least = median(times), min(times)
        print(f"{kind}: min {least:.3f} s, median {middle:.3f} s for {minutes:g} min", flush=True)
        factor = 60 * minutes / middle
        each = f", {channels * factor:.0f}x for each channel" if channels > 1 else ""
        rows.append(
            {
                "what": f"one core, FLAC of {minutes:g} min, {kind}, decoding included",
                "measured": f"{factor:.0f}x real time{each}",
                "wanted": "≥ 300x",
            }
        )
    return rows


def cold_start(model: str | None, folder: Path, repeats: int) -> list[Row]:
    """Seconds of the whole command for a short file."""
    path = make_audio(folder / "short.flac", 10, 16_000, 1)
    words = command(model, path, "--json", folder / "short.json")
    times = [run_command(words)[0] for _ in range(repeats + 1)][1:]  # the first fills the cache
    print(f"cold start: min {min(times):.3f} s, median {median(times):.3f} s", flush=True)
    return [
        {
            "what": "one core, `voicetone analyze` of a 10 s file, from start to end",
            "measured": f"{median(times):.2f} s",
            "wanted": "≤ 1.5 s",
        }
    ]


def peak_memory(model: str | None, folder: Path, hours: float) -> list[Row]:
    """Resident memory at its peak, with table, JSON and report."""
    path = make_audio(folder / "hours.flac", 3600 * hours, 16_000, 1)
    outputs = ("--json", folder / "hours.json", "--html", folder / "hours.html")
    seconds, megabytes = run_command(command(model, path, *outputs))
    print(f"peak memory: {megabytes:.0f} MB, {seconds:.1f} s for {hours:g} h", flush=True)
    return [
        {
            "what": f"peak memory, file of {hours:g} h, with JSON and HTML report",
            "measured": f"{megabytes:.0f} MB",
            "wanted": "≤ 300 MB",
        }
    ]


def live(model: str | None, folder: Path, minutes: float) -> list[Row]:
    """What a live call costs, pushed as telephone systems send it."""
    path = make_audio(folder / "live.wav", 60 * minutes, 8_000, 1)
    times = in_child("live", model, str(path))
    every = times["waiting"] + times["complete"]
    mean, window = sum(every) / len(every), median(times["complete"])
    slow = float(np.percentile(times["complete"], 99))
    print(
        f"live: {1e6 * mean:.0f} µs per push (without a window {1e6 * median(times['waiting']):.0f}"
        f" µs), window {1e3 * window:.1f} ms, 99 % within {1e3 * slow:.1f} ms",
        flush=True,
    )
    return [
        {
            "what": "live, 8 kHz in packets of 20 ms: mean cost of a packet",
            "measured": f"{1e6 * mean:.0f} µs",
            "wanted": "",
        },
        {
            "what": "live: from a window's last packet to its scores",
            "measured": f"{1e3 * window:.1f} ms (99 %: {1e3 * slow:.1f} ms)",
            "wanted": "",
        },
        {
            "what": f"live: streams on one core at {100 * BUSY:.0f} % load",
            "measured": f"{BUSY * PACKET / mean:.0f}",
            "wanted": "",
        },
    ]


def size(model: str | None) -> list[Row]:
    """What the bundle weighs."""
    from voicetone.pretrained import verify
    from voicetone.pretrained.bundle import find

    spec = verify(find(model))
    megabytes = sum(file.bytes for file in spec.files.values()) / 1e6
    return [
        {"what": "weights", "measured": f"{megabytes:.1f} MB", "wanted": "≤ 12 MB"},
        {
            "what": "network",
            "measured": f"{spec.parameters / 1e6:.2f} M parameters, "
            f"{spec.mac_per_second / 1e6:.1f} M multiply-adds per second of audio",
            "wanted": "≤ 4 M parameters",
        },
    ]


def machine() -> str:
    """Processor and cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [x for x in info.read_text("utf-8").splitlines() if x.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="installed name or folder; default: the default model")
    parser.add_argument("--out", type=Path, help="where the numbers go, as JSON")
    parser.add_argument("--minutes", type=float, default=30, help="length of the long files")
    parser.add_argument("--hours", type=float, default=3, help="length of the file for memory")
    parser.add_argument("--live-minutes", type=float, default=5, help="length of the live call")
    parser.add_argument("--repeats", type=int, default=3, help="runs of a long file")
    parser.add_argument("--starts", type=int, default=5, help="runs of the cold start")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    asked = options(arguments)
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"other programs are busy (load {load:.1f}): the times will be too long")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            *long_files(asked.model, folder, asked.minutes, asked.repeats),
            *cold_start(asked.model, folder, asked.starts),
            *peak_memory(asked.model, folder, asked.hours),
            *size(asked.model),
            *live(asked.model, folder, asked.live_minutes),
        ]
    for row in rows:
        print(
            f"{row['what']}: {row['measured']}" + f" (wanted {row['wanted']})" * bool(row["wanted"])
        )
    out = asked.out or (RESULT if not arguments else None)
    if out is not None:
        result = {
            "command": "python benchmarks/bench_speed.py",
            "machine": machine(),
            "date": date.today().isoformat(),
            "rows": rows,
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(CHILDREN[sys.argv[2]](*json.loads(sys.argv[3]))))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
