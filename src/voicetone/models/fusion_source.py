"""The folder of a text encoder, looked at before any of it is loaded.

Such folders come from strangers: only the families of `KINDS` are opened, only safetensors and
`tokenizer.json` are read, no code comes along, and every size has a bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voicetone.errors import DataError, MissingExtraError
from voicetone.features.ssl_source import read_json, sha256_of, weights_in

KINDS = ("bert", "roberta", "xlm-roberta", "xlnet")
"""The `model_type` of what is supported: BERT (Devlin et al., NAACL 2019), RoBERTa (Liu et al.,
arXiv:1907.11692), XLM-R (Conneau et al., ACL 2020), XLNet (Yang et al., NeurIPS 2019)."""
WANTED = ("config.json", "tokenizer.json", "*.safetensors", "*.safetensors.index.json")
UNBOUND_LIMIT = 512
"""Tokens of an encoder that has no bound of its own, such as XLNet."""
_MOST_TOKENIZER = 64 * 2**20  # bytes; XLM-R's has 17 million
_MOST_VOCABULARY = 2_000_000
_MOST_SIZE = 65_536  # of any one side of a layer
_MOST_LAYERS = 512
_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "bert": {"vocab_size": 30_522, "hidden_size": 768, "num_hidden_layers": 12}
    | {"num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 512}
    | {"type_vocab_size": 2},
    "xlnet": {"vocab_size": 32_000, "d_model": 1024, "n_layer": 24, "n_head": 16, "d_inner": 4096},
}
"""Of `transformers`, for what a config.json leaves out; RoBERTa's but for the words are BERT's."""
_VOCABULARIES = {"roberta": 50_265}
_PADS = {"bert": 0, "roberta": 1, "xlm-roberta": 1, "xlnet": 5}


@dataclass(frozen=True)
class TextSource:
    """A folder whose files are in order as far as that can be seen without loading them."""

    folder: Path
    kind: str
    """One of `KINDS`."""
    config: Mapping[str, Any]
    """`config.json`."""
    weights: tuple[Path, ...]
    """Safetensors files."""

    @property
    def xlnet(self) -> bool:
        """Whether it is of the family with relative positions."""
        return self.kind == "xlnet"

    def number(self, name: str) -> int:
        """A whole number of `config.json`, or what the library takes where it is left out."""
        default = _DEFAULTS[_family(self.kind)][name]
        default = _VOCABULARIES.get(self.kind, default) if name == "vocab_size" else default
        found = self.config.get(name)
        return default if found is None else int(found)

    @property
    def size(self) -> int:
        """Values of a token's vector."""
        return self.number("d_model" if self.xlnet else "hidden_size")

    @property
    def pad(self) -> int:
        """The token that fills a row up."""
        found = self.config.get("pad_token_id")
        return _PADS[self.kind] if found is None else int(found)

    @property
    def limit(self) -> int:
        """Tokens that are read at most, special ones included."""
        if self.xlnet:
            return UNBOUND_LIMIT
        # RoBERTa counts its positions from behind that of the padding.
        return self.number("max_position_embeddings") - (0 if self.kind == "bert" else self.pad + 1)

    @property
    def tokenizer(self) -> Path:
        """How its words are cut into tokens."""
        return self.folder / "tokenizer.json"

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and of what is read beside them."""
        whole = hashlib.sha256()
        for path in (*self.weights, self.tokenizer, self.folder / "config.json"):
            stat = path.stat()
            whole.update(
                f"{path.name} {sha256_of(path, stat.st_mtime_ns, stat.st_size)}\n".encode()
            )
        return whole.hexdigest()


def text_source(folder: Path) -> TextSource:
    """Look at a folder as `hf download --local-dir` makes it.

    Raises:
        DataError: no such folder, another architecture, sizes out of bounds, no safetensors, no
            tokenizer.json, or a damaged file.
        MissingExtraError: safetensors is not installed.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of a text encoder: check the path")
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise DataError(
            f"{folder}: the architecture {str(kind)[:40]!r} is no text encoder that is supported: "
            f"choose a model of {', '.join(KINDS)}"
        )
    found = TextSource(folder, kind, config, weights_in(folder))
    _require_sizes(found)
    try:
        size = found.tokenizer.stat().st_size
    except OSError:
        raise DataError(
            f"{folder}: no tokenizer.json, which says how words are cut into tokens: take a "
            "revision that has it"
        ) from None
    if size > _MOST_TOKENIZER:
        raise DataError(
            f"{found.tokenizer}: larger than 64 MiB, which no such file is: download it again"
        )
    return found


def open_tokenizer(found: TextSource) -> Any:
    """What cuts its words into tokens, without padding or cutting of its own.

    Raises:
        MissingExtraError: tokenizers is not installed.
        DataError: a damaged file, or one with more tokens than the network knows.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MissingExtraError(f"the text encoder {found.folder.name}", "ssl,train") from None
    try:
        made = Tokenizer.from_file(str(found.tokenizer))
        made.no_padding()
        made.no_truncation()
        most = max(made.get_vocab(with_added_tokens=True).values(), default=-1)
    except Exception as error:  # the library raises bare ones
        reason = " ".join(str(error).split())[:100]
        raise DataError(
            f"{found.tokenizer}: no tokenizer that can be read ({reason}): download it again"
        ) from None
    if not 0 <= most < found.number("vocab_size"):
        raise DataError(
            f"{found.tokenizer}: its tokens go up to {most} and the network knows "
            f"{found.number('vocab_size')}: both must be of one model, download it again"
        )
    return made


def _family(kind: str) -> str:
    return "xlnet" if kind == "xlnet" else "bert"


def _require_sizes(found: TextSource) -> None:
    """Check sizes against bounds, and that there can be weights for them.

    Raises:
        DataError: a size is no whole number, out of bounds, or more than the weights' files hold.
    """
    told = found.folder / "config.json"
    for name in (*_DEFAULTS[_family(found.kind)], "pad_token_id"):
        value = found.config.get(name)
        most = _MOST_LAYERS if name.endswith(("layers", "n_layer")) else _MOST_SIZE
        most = _MOST_VOCABULARY if name in ("vocab_size", "pad_token_id") else most
        least = 0 if name == "pad_token_id" else 1
        if value is not None and not (type(value) is int and least <= value <= most):
            raise DataError(
                f"{told}: {name} = {str(value)[:40]} can't be a size of a text encoder: download "
                "it again"
            )
    vocabulary = found.number("vocab_size")
    if found.pad >= vocabulary or found.limit < 3:
        raise DataError(
            f"{told}: no room for tokens or for the padding among them: download it again"
        )
    names = ("n_layer", "d_inner") if found.xlnet else ("num_hidden_layers", "intermediate_size")
    layers, inner = (found.number(name) for name in names)
    wide = found.size
    least = vocabulary * wide + layers * (4 * wide * wide + 2 * wide * inner)
    held = sum(p.stat().st_size for p in found.weights)
    if least > held:  # a byte a weight would be little
        raise DataError(
            f"{told}: a text encoder of these sizes has more weights than its files hold "
            f"({held / 1e6:.0f} MB): both must be of one model, download it again"
        )
