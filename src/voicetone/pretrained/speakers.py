"""Speaker encoders that run a graph, opened: the d-vector, and any network by its settings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.errors import BundleError, DataError
from voicetone.features.dvector import BANDS, INSTALL, PART, SIZE, DVector, graph_path
from voicetone.features.speaker import SpeakerEncoder, StatisticsEncoder
from voicetone.features.speaker_graph import (
    MOST_BYTES,
    MOST_SIZE,
    GraphEncoder,
    GraphSettings,
    network_input,
)
from voicetone.pretrained.graph import has_external_data
from voicetone.pretrained.predictor import check_ports
from voicetone.pretrained.runtime import open_graph, run_graph
from voicetone.pretrained.speaker_part import SpeakerPart
from voicetone.types import Floats

ENCODERS = ("statistics", "dvector")
CONVERT = "python -m voicetone.training.dvector_export"
_RANK = {"wave": 2, "logmel": 3}
_TRIAL_SECONDS = 2.0


def speaker_encoder(
    what: str | GraphSettings, *, threads: int = 1, root: Path | None = None
) -> SpeakerEncoder:
    """A speaker encoder by name or by its settings.

    Args:
        what: `statistics`, `dvector`, or the settings of a network.
        threads: of a graph.
        root: where the d-vector's graph lies, if not in the cache.

    Raises:
        DataError: no such encoder, no graph, or one that is not what it should be.
    """
    if isinstance(what, GraphSettings):
        return open_network(what, threads)
    if what == "statistics":
        return StatisticsEncoder()
    if what == "dvector":
        return open_dvector(root, threads)
    raise DataError(f"no speaker encoder {what[:60]!r}: choose {', '.join(ENCODERS)} or a network")


def open_dvector(root: Path | None = None, threads: int = 1) -> DVector:
    """The d-vector from its converted graph, which `voicetone.training.dvector_export` makes.

    Args:
        root: the folder of the graph; see `graph_path`.
        threads: of the graph.

    Raises:
        DataError: it has not been converted yet, or the file is damaged.
    """
    path = graph_path(root)
    if not path.is_file():
        raise DataError(
            f"{path}: the d-vectors' network is not converted yet: {INSTALL} && {CONVERT}"
        )
    return dvector_from(_read(path), str(path), threads)


def dvector_from(graph: bytes, name: str = "d-vector", threads: int = 1) -> DVector:
    """The d-vector from the bytes of its graph, as a bundle holds them.

    Args:
        graph: ONNX.
        name: of the file, for messages.
        threads: of the graph.

    Raises:
        DataError: not such a graph.
    """
    try:
        session = open_graph(graph, threads)
        check_ports(session, "d-vector", {"mel": (None, PART, BANDS)}, {"embedding": (None, SIZE)})
    except BundleError as error:
        raise DataError(
            f"{name}: no network of d-vectors ({error}): delete the file and run {CONVERT}"
        ) from None
    return DVector(_runner(session, "mel", "embedding", SIZE, name))


def bundled_encoder(
    part: SpeakerPart, name: str, graph: bytes | None, threads: int = 1
) -> SpeakerEncoder:
    """The encoder of embeddings that a bundle names.

    Args:
        part: what the bundle says of it; not of the kind `frames`.
        name: of the graph's file.
        graph: its bytes, where it has one.
        threads: of the graph.

    Raises:
        BundleError: not such a graph.
    """
    if part.kind == "statistics":
        return StatisticsEncoder()
    if graph is None:
        raise BundleError("the network of voices is missing: get the bundle again")
    try:
        if part.network is None:
            return dvector_from(graph, name, threads)
        return network_from(graph, part.network.settings(name, part.same_voice), threads)
    except DataError as error:
        raise BundleError(str(error)) from None


def open_network(settings: GraphSettings, threads: int = 1) -> GraphEncoder:
    """A network by its settings, tried out on noise.

    Raises:
        DataError: no file, no graph, or inputs and outputs other than the settings say.
    """
    path = Path(settings.path)
    return network_from(_read(path), settings, threads)


def network_from(content: bytes, settings: GraphSettings, threads: int = 1) -> GraphEncoder:
    """The same from the bytes of its graph, as a bundle holds them.

    Args:
        content: ONNX.
        settings: their path is a name for messages.
        threads: of the graph.

    Raises:
        DataError: no graph, or inputs and outputs other than the settings say.
    """
    path = Path(settings.path)
    try:
        session = open_graph(content, threads)
    except BundleError as error:
        raise DataError(f"{path}: no graph that can be run ({error}): export it again") from None
    taken = _input_of(session, settings, path)
    output = _output_of(session, settings, path)
    wave = 0.1 * np.random.default_rng(0).standard_normal(round(16_000 * _TRIAL_SECONDS))
    heard = network_input(wave.astype(np.float32), settings)
    try:
        found = run_graph(session, {taken: heard}, [output])[0]
    except BundleError as error:
        raise DataError(
            f"{path}: does not take {list(heard.shape)} of {settings.input} ({error}): mend its "
            "settings"
        ) from None
    shape = list(np.shape(found))
    if len(shape) != 2 or shape[0] != 1 or not 1 <= shape[1] <= MOST_SIZE:
        raise DataError(
            f"{path}: {output} is {shape} and not [batch, size] with a size of 1 to {MOST_SIZE}: "
            "name another output"
        )
    run = _runner(session, taken, output, shape[1], str(path))
    run(heard)
    return GraphEncoder(settings, hashlib.sha256(content).hexdigest(), shape[1], run)


def _read(path: Path) -> bytes:
    """A graph's bytes, of acceptable size and with nothing of it in other files."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: over {MOST_BYTES / 1e9:.1f} GB: take a smaller network")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: the speaker network can't be read ({error.strerror}): check the path"
        ) from None
    try:
        elsewhere = has_external_data(content)
    except ValueError as error:
        raise DataError(f"{path}: not an ONNX graph ({error}): export it again") from None
    if elsewhere:
        raise DataError(f"{path}: weights in another file: export it as one file")
    return content


def _input_of(session: Any, settings: GraphSettings, path: Path) -> str:
    """The name of the one input, if it is of the right kind."""
    ports = session.get_inputs()
    wanted = _RANK[settings.input]
    if len(ports) != 1:
        raise DataError(
            f"{path}: {len(ports)} inputs: a speaker network takes {settings.input} and nothing "
            "else: export it so"
        )
    port = ports[0]
    if port.type != "tensor(float)" or (port.shape and len(port.shape) != wanted):
        shape = "[batch, samples]" if wanted == 2 else f"[batch, frames, {settings.bands}]"
        raise DataError(
            f"{path}: its input is {port.type} {port.shape}, and {settings.input} is a "
            f"tensor(float) {shape}: mend its settings"
        )
    return str(port.name)


def _output_of(session: Any, settings: GraphSettings, path: Path) -> str:
    """The name of the output that is the embedding."""
    names = [str(port.name) for port in session.get_outputs()]
    if settings.output in names:
        return settings.output
    if not settings.output and len(names) == 1:
        return names[0]
    raise DataError(f"{path}: which output is it: {', '.join(names)[:200]}? Name one in output")


def _runner(
    session: Any, taken: str, output: str, size: int, name: str
) -> Callable[[Floats], Floats]:
    def run(heard: Floats) -> Floats:
        try:
            found = np.asarray(run_graph(session, {taken: heard}, [output])[0])
        except BundleError as error:
            raise DataError(f"{name}: {error}: take another network") from None
        if found.shape != (len(heard), size) or not np.isfinite(found).all():
            raise DataError(
                f"{name}: gave {list(found.shape)} or values that are no numbers, and not "
                f"[{len(heard)}, {size}]: take another network"
            )
        return found.astype(np.float32, copy=False)

    return run
