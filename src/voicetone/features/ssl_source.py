"""The folder of a self-supervised speech model, looked at before any of it is loaded.

Such folders come from strangers: only four architectures are opened, only safetensors are read, no
code comes along, and every size has a bound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from voicetone.audio.units import SAMPLE_RATE
from voicetone.errors import DataError, MissingExtraError

KINDS = ("wav2vec2", "hubert", "wavlm", "whisper")
"""The `model_type` of what is supported; XLS-R is a wav2vec2."""
PIECE_SECONDS = 30.0
"""The longest that is heard at once; attention needs the square of it."""
MEL_HOP = 160  # samples, of Whisper's front end
MEL_WINDOW = 400
_MOST_JSON = 8 * 2**20  # bytes; old Whisper folders hold their mel filters in it
_MOST_FILES = 1000
_MOST_SIZE = 65_536  # of any one side of a layer
_MOST_LAYERS = 512
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_SIZES = {
    "wav2vec2": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    "whisper": ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "wav2vec2": {"conv_dim": (512,) * 7, "conv_kernel": (10, 3, 3, 3, 3, 2, 2)}
    | {"conv_stride": (5, 2, 2, 2, 2, 2, 2), "num_conv_pos_embeddings": 128}
    | {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
    | {"num_conv_pos_embedding_groups": 16, "adapter_attn_dim": 0}
    | {"num_attention_heads": 12, "num_buckets": 320, "max_bucket_distance": 800},
    "whisper": {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6}
    | {"encoder_ffn_dim": 1536, "num_mel_bins": 80, "max_source_positions": 1500},
}
"""Of `transformers`, for what a config.json leaves out."""


@dataclass(frozen=True)
class Source:
    """A folder whose files are in order as far as that can be seen without loading them."""

    folder: Path
    kind: str
    """One of `KINDS`."""
    config: Mapping[str, Any]
    """`config.json`."""
    normalise: bool
    """Whether samples are brought to mean 0 and variance 1 per utterance."""
    weights: tuple[Path, ...]
    """Safetensors files."""

    @property
    def whisper(self) -> bool:
        """Whether it hears log-mel energies of a fixed window."""
        return self.kind == "whisper"

    def number(self, name: str) -> int:
        """A whole number of `config.json`, or what the library takes where it is left out."""
        return int(self.config.get(name, _DEFAULTS[_family(self.kind)].get(name, 0)) or 0)

    def numbers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers of `config.json`."""
        return tuple(self.config.get(name, _DEFAULTS[_family(self.kind)][name]))

    @property
    def size(self) -> int:
        """Values of a frame."""
        return self.number(_SIZES[_family(self.kind)][0])

    @property
    def layers(self) -> int:
        """Layers of the transformer; there is one hidden state more."""
        return self.number(_SIZES[_family(self.kind)][1])

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return 2 * MEL_HOP if self.whisper else prod(self.numbers("conv_stride"))

    @property
    def shortest(self) -> int:
        """Samples of the shortest utterance with a frame of its own."""
        if self.whisper:
            return 1
        need = 1
        steps = zip(self.numbers("conv_kernel"), self.numbers("conv_stride"), strict=True)
        for kernel, stride in reversed(list(steps)):
            need = (need - 1) * stride + kernel
        return need

    @property
    def longest(self) -> int:
        """Samples that are heard at once: Whisper's window, or `PIECE_SECONDS`."""
        if self.whisper:
            return 2 * MEL_HOP * self.number("max_source_positions")
        return round(PIECE_SECONDS * SAMPLE_RATE)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and of what is read beside them."""
        whole = hashlib.sha256()
        for path in (*self.weights, *_texts(self.folder)):
            stat = path.stat()
            whole.update(
                f"{path.name} {sha256_of(path, stat.st_mtime_ns, stat.st_size)}\n".encode()
            )
        return whole.hexdigest()

    def require_layer(self, layer: int) -> None:
        """Check that there is a hidden state of this number.

        Raises:
            DataError: there is none.
        """
        if not 0 <= layer <= self.layers:
            raise DataError(
                f"{self.folder}: no hidden state {layer}: choose a layer from 0, before the first "
                f"one, to {self.layers}"
            )


def source(folder: Path) -> Source:
    """Look at a folder as `hf download --local-dir` makes it.

    Raises:
        DataError: no such folder, another architecture, sizes out of bounds, no safetensors, or a
            damaged file.
        MissingExtraError: safetensors is not installed.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of a model: see docs/front-ends.md")
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise DataError(
            f"{folder}: the architecture {str(kind)[:40]!r} is not supported: choose a model of "
            f"{', '.join(KINDS)}"
        )
    told = folder / "preprocessor_config.json"
    if not told.is_file() and kind != "whisper":
        raise DataError(
            f"{folder}: no preprocessor_config.json, which says whether samples are normalised: "
            "download it too"
        )
    heard = read_json(told) if told.is_file() else {}
    found = Source(folder, kind, config, bool(heard.get("do_normalize", True)), weights_in(folder))
    _require_sizes(found)
    _require_masks(found)
    _require_hearing(found, heard)
    return found


def _family(kind: str) -> str:
    return "whisper" if kind == "whisper" else "wav2vec2"


def _texts(folder: Path) -> list[Path]:
    names = ("config.json", "preprocessor_config.json")
    return [folder / name for name in names if (folder / name).is_file()]


@lru_cache(maxsize=64)
def sha256_of(path: Path, _changed: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file.

    Raises:
        DataError: there is none.
    """
    try:
        if path.stat().st_size > _MOST_JSON:
            raise DataError(f"{path}: larger than 8 MiB, which no such file is: download it again")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: a model's folder needs this file ({error.strerror}): download the whole model"
        ) from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: no JSON, so it is damaged: download it again") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: no JSON object, so it is damaged: download it again")
    return found


def weights_in(folder: Path) -> tuple[Path, ...]:
    """The safetensors files, each with a header that holds.

    Raises:
        DataError: there are none, or one is damaged.
        MissingExtraError: safetensors is not installed.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        names = ["model.safetensors"]
    elif index.is_file():
        names = _shards(index)
    else:
        if any(p.suffix in _PICKLES for p in folder.iterdir()):
            raise DataError(
                f"{folder}: its weights are no safetensors but may run code when they are read: "
                "take a revision that has model.safetensors"
            )
        raise DataError(f"{folder}: no model.safetensors in it: download the weights too")
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError:
        raise MissingExtraError(f"the model {folder.name}", "ssl,train") from None
    for name in names:
        try:
            with safe_open(folder / name, framework="np"):
                pass
        except (OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:100]
            raise DataError(
                f"{folder / name}: damaged or incomplete weights ({reason}): download them again"
            ) from None
    return tuple(folder / name for name in names)


def _shards(index: Path) -> list[str]:
    names = read_json(index).get("weight_map")
    values = set(names.values()) if isinstance(names, dict) and _plain(names.values()) else set()
    if not 0 < len(values) <= _MOST_FILES:
        raise DataError(f"{index}: names no safetensors files beside it: download the model again")
    return sorted(values)


def _plain(names: Any) -> bool:
    return all(
        isinstance(n, str) and n.endswith(".safetensors") and Path(n).name == n for n in names
    )


def _require_sizes(found: Source) -> None:
    """Check sizes against bounds, and that there can be weights for them.

    Raises:
        DataError: a size is no whole number, out of bounds, or more than the weights' files hold.
    """
    family = _family(found.kind)
    for name, default in _DEFAULTS[family].items():
        value = found.config.get(name, default)
        if value in (None, 0) and default == 0:
            continue
        most = _MOST_LAYERS if name.endswith("layers") else _MOST_SIZE
        several = value if isinstance(default, tuple) else [value]
        if (
            not isinstance(several, list | tuple)
            or not 0 < len(several) <= _MOST_LAYERS
            or not all(type(v) is int and 0 < v <= most for v in several)
        ):
            raise DataError(
                f"{found.folder / 'config.json'}: {name} = {str(value)[:40]} can't be a size: "
                "download it again"
            )
    if not found.whisper:
        lengths = {len(found.numbers(n)) for n in ("conv_dim", "conv_kernel", "conv_stride")}
        if len(lengths) > 1:
            raise DataError(
                f"{found.folder / 'config.json'}: conv_dim, conv_kernel and conv_stride are of "
                "different lengths: download it again"
            )
    held = sum(p.stat().st_size for p in found.weights)
    if _least_weights(found) > held:  # a byte a weight would be little
        raise DataError(
            f"{found.folder / 'config.json'}: a network of these sizes has more weights than its "
            f"files hold ({held / 1e6:.0f} MB): both must be of one model, download it again"
        )


def _least_weights(found: Source) -> int:
    """How many weights a network of these sizes has at least."""
    wide, layers, heads, inner = (found.number(n) for n in _SIZES[_family(found.kind)])
    adapters = found.number("adapter_attn_dim")
    transformer = layers * (4 * wide * wide + 2 * wide * (inner + adapters))
    if found.whisper:
        mels, positions = found.number("num_mel_bins"), found.number("max_source_positions")
        return transformer + wide * (3 * (mels + wide) + positions)
    dims, kernels = found.numbers("conv_dim"), found.numbers("conv_kernel")
    front = sum(a * b * k for a, b, k in zip((1, *dims), dims, kernels, strict=False))
    near = wide * wide * found.number("num_conv_pos_embeddings")
    near //= found.number("num_conv_pos_embedding_groups")
    buckets = heads * found.number("num_buckets") if found.kind == "wavlm" else 0
    return transformer + front + near + buckets


def _require_masks(found: Source) -> None:
    """Check the masks of training.

    Raises:
        DataError: a share that is none, or spans that can't be.
    """
    for axis in ("time", "feature"):
        share = found.config.get(f"mask_{axis}_prob", 0.0)
        span = found.config.get(f"mask_{axis}_length", 10)
        least = found.config.get(f"mask_{axis}_min_masks", 0)
        whole = type(span) is int and type(least) is int
        fits = whole and 0 < span <= _MOST_SIZE and 0 <= least <= _MOST_SIZE
        if type(share) not in (int, float) or not 0 <= share <= 1 or not fits:
            raise DataError(
                f"{found.folder / 'config.json'}: mask_{axis}_prob, _length or _min_masks can't "
                "be a mask: download it again"
            )


def _require_hearing(found: Source, heard: Mapping[str, Any]) -> None:
    """Check that the model hears what it will be given.

    Raises:
        DataError: another sampling rate, or another front end than Whisper's.
    """
    wanted = {"sampling_rate": SAMPLE_RATE}
    if found.whisper:
        wanted |= {"n_fft": MEL_WINDOW, "hop_length": MEL_HOP}
        wanted |= {"feature_size": found.number("num_mel_bins")}
    for name, value in wanted.items():
        if heard.get(name, value) != value:
            raise DataError(
                f"{found.folder / 'preprocessor_config.json'}: {name} = {str(heard[name])[:40]}, "
                f"and only {value} is supported here: choose another model"
            )
