"""Arrays in, probabilities out: the one scoring path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from voicetone.audio.units import FEATURE_HOP
from voicetone.errors import BundleError
from voicetone.features.spectral import spectral_features
from voicetone.pretrained.runtime import open_graph, run_graph
from voicetone.pretrained.spec import BundleSpec, StreamSpec
from voicetone.types import Floats

SPACES: tuple[Literal["sentiment"], Literal["emotion"]] = ("sentiment", "emotion")
FLOAT, INT64 = "tensor(float)", "tensor(int64)"


@runtime_checkable
class Predictor(Protocol):
    """A model as inference sees it. It keeps nothing between calls: state goes in and comes out.

    `context`, `S` and `E` are `spec.shapes`; `F` is its own affair.
    """

    @property
    def spec(self) -> BundleSpec:
        """What the model is."""

    def features(self, samples: Floats) -> Floats:
        """Audio at 16 kHz `[B, context + 250 k]` → features `[B, k, F]`."""

    def encode(self, features: Floats, state: Floats) -> tuple[Floats, Floats, Floats]:
        """Features `[B, 2 n, F]`, state `[B, S]` → frames `[B, n, E]`, speech `[B, n]`, state."""

    def classify(
        self,
        frames: Floats,
        weight: Floats,
        voices: Sequence[Floats | None] = (),
        texts: Sequence[str | None] = (),
    ) -> Mapping[str, Floats]:
        """Frames `[B, n, E]`, weight `[B, n]` → probabilities `[B, labels]` per label space.

        `voices` are those of the rows' speakers, None where unknown; a model whose `spec.speaker`
        is None does not look at them. `texts` are the words of the rows, None where there are
        none; a model whose `spec.text` is None does not look at them. A row of NaN says that the
        model has no answer for that window.
        """


class OnnxPredictor:
    """The two graphs of a bundle of format 1 in ONNX Runtime. Safe to share between threads.

    Args:
        spec: the bundle's specification.
        encoder: bytes of the encoder's graph.
        head: bytes of the head's graph.
        threads: for each graph.

    Raises:
        BundleError: a graph that doesn't load, or whose inputs and outputs are not those of a
            bundle with this specification.
    """

    def __init__(self, spec: StreamSpec, encoder: bytes, head: bytes, threads: int = 1) -> None:
        self._spec = spec
        self._config = spec.spectral
        self._encoder = opened(encoder, spec.graphs.encoder, threads)
        self._head = opened(head, spec.graphs.head, threads)
        self._temperature: dict[str, float] = {
            "sentiment": spec.temperature.sentiment,
            "emotion": spec.temperature.emotion,
        }
        size, state, width = self._config.size, spec.state_size, spec.embedding_size
        labels: dict[str, int] = {name: len(spec.space(name).labels) for name in SPACES}
        check_ports(
            self._encoder,
            spec.graphs.encoder,
            {"features": (None, None, size), "state": (None, state)},
            {"frames": (None, None, width), "speech": (None, None), "state_out": (None, state)},
        )
        check_ports(
            self._head,
            spec.graphs.head,
            {"frames": (None, None, width), "weight": (None, None)},
            {name: (None, count) for name, count in labels.items()},
        )
        self._try_out(labels)

    @property
    def spec(self) -> StreamSpec:
        """What the model is."""
        return self._spec

    def features(self, samples: Floats) -> Floats:
        """Audio at 16 kHz `[B, context + 250 k]` → features `[B, k, F]`."""
        return spectral_features(samples, self._config)

    def encode(self, features: Floats, state: Floats) -> tuple[Floats, Floats, Floats]:
        """Features `[B, 2 n, F]`, state `[B, S]` → frames `[B, n, E]`, speech `[B, n]`, state.

        Raises:
            BundleError: the graph fails or gives something other than numbers.
        """
        frames, speech, state_out = run_graph(
            self._encoder,
            {"features": features, "state": state},
            ["frames", "speech", "state_out"],
        )
        check_finite(speech, self._spec.graphs.encoder)
        return frames, speech, state_out

    def classify(
        self,
        frames: Floats,
        weight: Floats,
        voices: Sequence[Floats | None] = (),
        texts: Sequence[str | None] = (),
    ) -> Mapping[str, Floats]:
        """Frames `[B, n, E]`, weight `[B, n]` → probabilities `[B, labels]` per label space.

        Raises:
            BundleError: the graph fails or gives something other than numbers.
        """
        logits = run_graph(self._head, {"frames": frames, "weight": weight}, list(SPACES))
        for values in logits:
            check_finite(values, self._spec.graphs.head)
        return {
            name: softmax(values / np.float32(self._temperature[name]))
            for name, values in zip(SPACES, logits, strict=True)
        }

    def _try_out(self, labels: Mapping[str, int]) -> None:
        """Run both graphs once on silence: symbolic shapes say little about a graph."""
        count = 4
        context = self._config.context
        samples = np.zeros((1, context + 2 * count * FEATURE_HOP), dtype=np.float32)
        state = np.zeros((1, self._spec.state_size), dtype=np.float32)
        frames, speech, after = self.encode(self.features(samples), state)
        scores = self.classify(frames, np.ones((1, count), dtype=np.float32))
        wanted: dict[str, tuple[Floats, tuple[int, ...]]] = {
            "frames": (frames, (1, count, self._spec.embedding_size)),
            "speech": (speech, (1, count)),
            "state_out": (after, (1, self._spec.state_size)),
            **{name: (scores[name], (1, labels[name])) for name in SPACES},
        }
        for name, (value, shape) in wanted.items():
            if value.shape != shape:
                raise BundleError(
                    f"the graph's {name} has the shape {list(value.shape)} where the bundle says "
                    f"{list(shape)}"
                )


def softmax(logits: Floats) -> Floats:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def opened(data: bytes, name: str, threads: int) -> Any:
    try:
        return open_graph(data, threads)
    except BundleError as error:
        raise BundleError(f"{name}: {error}") from error


def check_ports(
    session: Any,
    name: str,
    inputs: Mapping[str, tuple[int | None, ...]],
    outputs: Mapping[str, tuple[int | None, ...]],
    types: Mapping[str, str] | None = None,
) -> None:
    """Make sure that a graph has these inputs and outputs, of floats unless `types` says else."""
    for kind, found, wanted in (
        ("inputs", session.get_inputs(), inputs),
        ("outputs", session.get_outputs(), outputs),
    ):
        names = sorted(port.name for port in found)
        if names != sorted(wanted):
            raise BundleError(
                f"{name}: its {kind} are {', '.join(names)[:200]} and not {', '.join(wanted)}"
            )
        for port in found:
            type_ = (types or {}).get(port.name, FLOAT)
            if port.type != type_:
                raise BundleError(f"{name}: {port.name} is a {port.type}, not a {type_}")
            _check_shape(name, port.name, port.shape, wanted[port.name])


def _check_shape(
    graph: str, port: str, found: list[Any] | None, wanted: tuple[int | None, ...]
) -> None:
    """Compare the sizes that both sides fix; sizes without a number are left to the trial run."""
    if not found:
        return
    fits = len(found) == len(wanted) and all(
        not isinstance(a, int) or (a == b if b is not None else False)
        for a, b in zip(found, wanted, strict=False)
    )
    if not fits:
        shape = ["any" if size is None else size for size in wanted]
        raise BundleError(f"{graph}: {port} has the shape {found}, the bundle needs {shape}")


def check_finite(values: Floats, graph: str) -> None:
    if not np.isfinite(values).all():
        raise BundleError(f"{graph} gave NaN or infinite values: the bundle is damaged")
