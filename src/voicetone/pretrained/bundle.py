"""Bundles: where they are, whether they are what they say, and how they are loaded.

Each file is read once; its hash is taken from the very bytes that are then loaded, so nothing
can change in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voicetone.errors import BundleError
from voicetone.pretrained.graph import has_external_data
from voicetone.pretrained.predictor import OnnxPredictor, Predictor
from voicetone.pretrained.spec import (
    MAX_FILE_BYTES,
    MAX_SPEC_BYTES,
    SPEC_NAME,
    BundleSpec,
    StreamSpec,
    WindowSpec,
    parse_spec,
)
from voicetone.pretrained.window_predictor import WindowPredictor

DEFAULT = "tone-small"
GROUP = "voicetone.bundles"
_AGAIN = "get the bundle again"


def load(name_or_path: str | Path | None = None, threads: int = 1) -> Predictor:
    """A model, ready to run on the CPU.

    Args:
        name_or_path: name of an installed bundle or a bundle's folder; without one, the
            installed `tone-small` or else the only bundle that is installed.
        threads: for the model's arithmetic.

    Raises:
        BundleError: no such bundle, or one that is damaged, tampered with or of another format.
        MissingExtraError: its features need an extra that is not installed.
    """
    predictor = _open(find(name_or_path), threads)
    predictor.spec.require_extras()
    return predictor


def verify(path: str | Path) -> BundleSpec:
    """Check every file of a bundle against its hash, and that its graphs load and fit together.

    Raises:
        BundleError: what is wrong with the bundle.
    """
    return _open(find(path), 1).spec


def assemble(spec: BundleSpec, files: Mapping[str, bytes], threads: int = 1) -> Predictor:
    """The predictor of a bundle whose files are in memory.

    Raises:
        BundleError: graphs that don't load or don't fit the specification.
    """
    if isinstance(spec, WindowSpec):
        names, part = spec.graphs, spec.text
        return WindowPredictor(
            spec,
            files[names.classifier],
            threads,
            None if names.speaker is None else files[names.speaker],
            None if names.text is None else files[names.text],
            None if part is None else files[part.vocabulary],
        )
    assert isinstance(spec, StreamSpec)
    return OnnxPredictor(spec, files[spec.graphs.encoder], files[spec.graphs.head], threads)


def write(folder: Path, spec: Mapping[str, Any], graphs: Mapping[str, bytes]) -> Path:
    """Write a bundle: its graphs and other files, and its `bundle.json` with their hashes.

    Args:
        folder: where to; made if missing.
        spec: the content of `bundle.json` but for `files`.
        graphs: file name → bytes, all files.

    Raises:
        BundleError: a content that a bundle can't hold; then nothing is written.
    """
    text, _ = described(folder, spec, graphs)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in graphs.items():
        (folder / name).write_bytes(data)
    (folder / SPEC_NAME).write_text(text + "\n", encoding="utf-8")
    return folder


def described(
    folder: Path, spec: Mapping[str, Any], graphs: Mapping[str, bytes]
) -> tuple[str, BundleSpec]:
    """The text of `bundle.json` with the hashes of the graphs, and what it says.

    Raises:
        BundleError: a content that a bundle can't hold.
    """
    files = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in graphs.items()
    }
    text = json.dumps({**spec, "files": files}, indent=1, ensure_ascii=False)
    return text, parse_spec(text.encode(), folder / SPEC_NAME)


def installed() -> dict[str, Path]:
    """Name → folder of the bundles that installed packages bring, sorted by name."""
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    found: dict[str, Path] = {}
    for entry in entry_points(group=GROUP):
        try:
            package = find_spec(entry.module)
        except (ImportError, ValueError):
            continue
        if package is None:
            continue
        for place in package.submodule_search_locations or ():
            if (Path(place) / SPEC_NAME).is_file():
                found.setdefault(entry.name, Path(place))
    return dict(sorted(found.items()))


def find(name_or_path: str | Path | None) -> Path:
    """The folder of a bundle, by name or path. Installed names come before folders.

    Raises:
        BundleError: there is none.
    """
    if isinstance(name_or_path, Path):
        return _folder(name_or_path)
    bundles = installed()
    if name_or_path is None:
        return _default(bundles)
    if name_or_path in bundles:
        return bundles[name_or_path]
    if Path(name_or_path).exists():
        return _folder(Path(name_or_path))
    known = f"installed: {', '.join(bundles)}" if bundles else "none is installed"
    raise BundleError(
        f"{name_or_path}: neither an installed model ({known}) nor a bundle's folder: "
        "give one of these"
    )


def _default(bundles: dict[str, Path]) -> Path:
    if DEFAULT in bundles:
        return bundles[DEFAULT]
    if len(bundles) == 1:
        return next(iter(bundles.values()))
    if not bundles:
        raise BundleError(
            f"no model is installed: install voicetone-{DEFAULT} or give a bundle's folder"
        )
    raise BundleError(f"several models are installed ({', '.join(bundles)}): name one of them")


def _folder(path: Path) -> Path:
    if path.name == SPEC_NAME and path.is_file():
        return path.parent
    if not path.exists():
        raise BundleError(f"{path}: no such folder: give the folder of a bundle")
    if not path.is_dir():
        raise BundleError(f"{path}: not a folder: give the folder that holds {SPEC_NAME}")
    return path


def _open(folder: Path, threads: int) -> Predictor:
    spec, files = _read_all(folder)
    try:
        return assemble(spec, files, threads)
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from error


def _read_all(folder: Path) -> tuple[BundleSpec, dict[str, bytes]]:
    spec_path = folder / SPEC_NAME
    spec = parse_spec(_read(folder, SPEC_NAME, MAX_SPEC_BYTES), spec_path)
    files: dict[str, bytes] = {}
    for name, digest in spec.files.items():
        data = _read(folder, name, MAX_FILE_BYTES)
        if len(data) != digest.bytes:
            raise BundleError(
                f"{folder / name}: {len(data)} bytes where {SPEC_NAME} says {digest.bytes}: "
                f"damaged or tampered with, {_AGAIN}"
            )
        if hashlib.sha256(data).hexdigest() != digest.sha256:
            raise BundleError(
                f"{folder / name}: its SHA-256 is not the one in {SPEC_NAME}: "
                f"damaged or tampered with, {_AGAIN}"
            )
        files[name] = data
    for name in spec.graph_names:
        _check_graph(folder / name, files[name])
    return spec, files


def _check_graph(path: Path, data: bytes) -> None:
    try:
        external = has_external_data(data)
    except ValueError as error:
        raise BundleError(f"{path}: not an ONNX graph ({error}): {_AGAIN}") from error
    if external:
        raise BundleError(
            f"{path}: keeps weights in another file, which no bundle may: "
            "export it as one self-contained file"
        )


def _read(folder: Path, name: str, limit: int) -> bytes:
    """The bytes of a plain file that lies in the folder and is no larger than the limit."""
    path = folder / name
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve(strict=True)):
            raise BundleError(f"{path}: a link that leaves the bundle's folder: {_AGAIN}")
        # A pipe or device would block or never end: open without waiting, then look.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise BundleError(f"{path}: not a regular file: {_AGAIN}")
            data = stream.read(limit + 1)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing: give a bundle's folder or {_AGAIN}") from error
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{path}: can't be read ({reason}): {_AGAIN}") from error
    if len(data) > limit:
        raise BundleError(f"{path}: larger than {limit >> 20} MiB, which no bundle may be")
    return data
