"""Text encoders of the transformers library: transcripts → tokens → one vector per token.

A transcript that says nothing (empty, without a letter or digit, or of unknown tokens only) counts
as missing; one that is too long is cut at its end; both are told as data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voicetone.errors import DataError, MissingExtraError
from voicetone.features.ssl import quiet
from voicetone.language.hub import pinned
from voicetone.language.words import MOST_CHARACTERS
from voicetone.models.fusion_source import WANTED, TextSource, open_tokenizer, text_source
from voicetone.models.ssl import fetched

_CLASSES = {
    "bert": ("BertConfig", "BertModel"),
    "roberta": ("RobertaConfig", "RobertaModel"),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaModel"),
    "xlnet": ("XLNetConfig", "XLNetModel"),
}
_NOT_TAKEN = {"quantization_config", "auto_map", "dtype", "torch_dtype"}
"""Of a config.json: nothing in it chooses code or number format."""


@dataclass(frozen=True)
class TextConfig:
    """Which text encoder, and whether it is trained."""

    model: str
    """A folder, or NAME@REVISION of the hub."""
    limit: int = 128
    """Tokens of a transcript at most, special ones included; the encoder's own bound if lower."""
    trainable: bool = False
    """Train it further; else its vectors can be computed once and kept."""

    def __post_init__(self) -> None:
        if self.limit < 3:
            raise DataError(f"limit = {self.limit} leaves no room for words: give 3 tokens or more")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Transcripts of a batch."""

    ids: Tensor
    """`[B, l]`, padding behind."""
    mask: Tensor
    """`[B, l]`, 1 for a token and 0 for padding."""
    known: Tensor
    """`[B]`, 1 where there is something to read."""
    cut: tuple[bool, ...]
    """Whether words at the end were left out."""
    unknown: tuple[int, ...]
    """Tokens that the encoder has no word for."""

    def to(self, device: torch.device) -> Tokens:
        """The same on a device."""
        ids, mask, known = (part.to(device) for part in (self.ids, self.mask, self.known))
        return Tokens(ids, mask, known, self.cut, self.unknown)


class TextEncoder(nn.Module):
    """Tokens → their vectors.

    Args:
        config: what is used.
        found: the folder.

    Raises:
        MissingExtraError: transformers or tokenizers is not installed.
        DataError: weights or tokens that don't fit.
    """

    def __init__(self, config: TextConfig, found: TextSource) -> None:
        super().__init__()
        self.config, self.found = config, found
        self.limit = min(config.limit, found.limit)
        """Tokens of a transcript at most."""
        self._cutter = open_tokenizer(found)
        specials = self._cutter.num_special_tokens_to_add(False)
        if specials >= self.limit:
            raise DataError(
                f"{found.tokenizer}: puts {specials} tokens of its own around words, which leaves "
                f"no room for them among {self.limit}: raise limit, or choose another model"
            )
        self._cutter.enable_truncation(self.limit)
        self._unknown, self._first = _special(found, self._cutter)
        self.network = open_text_network(found)
        self.network.requires_grad_(config.trainable)
        self.train(self.training)

    @property
    def size(self) -> int:
        """Values of a token's vector."""
        return self.found.size

    def train(self, mode: bool = True) -> TextEncoder:
        """As any network, but a frozen one stays in evaluation mode."""
        super().train(mode)
        if not self.config.trainable:
            self.network.train(False)
        return self

    def tokens(self, texts: Sequence[str | None]) -> Tokens:
        """Transcripts as tokens; None is a missing one.

        A missing row holds one token of padding that is marked as real, so that no row is empty;
        what becomes of it is nobody's concern, since `known` is 0.
        """
        rows, cut, unknown, known = [], [], [], []
        for text in texts:
            row, shorter, words = self._cut(text or "")
            strange = row.count(self._unknown) if self._unknown is not None else 0
            there = words > strange and any(c.isalnum() for c in text or "")
            rows.append(row if there else [self.found.pad])
            known.append(float(there))
            cut.append(there and shorter)
            unknown.append(strange)
        longest = max((len(row) for row in rows), default=1)
        ids = torch.full((len(rows), longest), self.found.pad)
        mask = torch.zeros(len(rows), longest)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1.0
        return Tokens(ids, mask, torch.tensor(known), tuple(cut), tuple(unknown))

    def _cut(self, text: str) -> tuple[list[int], bool, int]:
        """Tokens of a text, whether some are left out, and how many are words or parts of them."""
        head = text[: MOST_CHARACTERS * self.limit]
        found = self._cutter.encode(head)
        shorter = len(head) < len(text) or bool(found.overflowing)
        words = sum(1 for special in found.special_tokens_mask if not special)
        return list(found.ids), shorter, words

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Vectors of tokens.

        Args:
            ids: `[B, l]`.
            mask: `[B, l]`, 1 for a token and 0 for padding behind it.

        Returns:
            `[B, l, size]`, zeros for padding.
        """
        more: dict[str, Any] = {"attention_mask": mask if self.found.xlnet else mask.long()}
        if self.found.xlnet:
            # The token that stands for the whole is a segment of its own (as its tokenizer says).
            more["token_type_ids"] = 2 * torch.eq(ids, self._first).long()
        found: Tensor = self.network(ids, **more).last_hidden_state
        return torch.where(mask[:, :, None] > 0, found, torch.zeros_like(found))


def load_text(config: TextConfig) -> TextEncoder:
    """The text encoder of a folder or, once, of the hub.

    Raises:
        UsageError: a name without a revision.
        DataError: no such model, one that is not supported, or a folder that is not in order.
        MissingExtraError: transformers is not installed.
    """
    name, revision = pinned(config.model, "model")
    folder = Path(name) if revision is None else fetched(name, revision, WANTED)
    return TextEncoder(config, text_source(folder))


def open_text_network(found: TextSource) -> Any:
    """The network with its weights, in float32 on the processor.

    Raises:
        MissingExtraError: transformers is not installed.
        DataError: weights that don't fit, or settings that the library can't take.
    """
    try:
        import transformers
    except ModuleNotFoundError:
        raise MissingExtraError(f"the text encoder {found.folder.name}", "ssl,train") from None
    names = _CLASSES[found.kind]
    more = {} if found.xlnet else {"add_pooling_layer": False}
    try:
        with quiet(transformers):
            network, told = getattr(transformers, names[1]).from_pretrained(
                found.folder,
                config=_config(getattr(transformers, names[0]), found),
                dtype=torch.float32,
                attn_implementation="eager",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **more,
            )
    except Exception as error:  # whatever a stranger's settings make of the library
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        raise DataError(
            f"{found.folder}: the text encoder can't be made ({reason}): download it again, or "
            "choose another model"
        ) from None
    missing = sorted(told["missing_keys"])
    if missing:
        raise DataError(
            f"{found.folder}: weights of the text encoder for {missing[0]} and "
            f"{len(missing) - 1} others are not in its files: download it again"
        )
    return network


def _config(kind: Any, found: TextSource) -> Any:
    """The library's settings of what it knows in `config.json`, and nothing else of it."""
    known = set(kind().to_dict()) - _NOT_TAKEN
    config = kind(**{k: v for k, v in found.config.items() if k in known and k[0] != "_"})
    config.output_hidden_states = config.output_attentions = False
    config.return_dict = True
    config.vocab_size, config.pad_token_id = found.number("vocab_size"), found.pad
    if found.xlnet:  # both ways, and nothing remembered from batch to batch
        config.attn_type = "bi"
        config.use_mems_eval = config.use_mems_train = False
    else:
        config.is_decoder = config.add_cross_attention = False
    return config


def _special(found: TextSource, cutter: Any) -> tuple[int | None, int]:
    """The token of unknown words, and XLNet's that stands for the whole, -1 of another family."""
    unknown = cutter.token_to_id("[UNK]" if found.kind == "bert" else "<unk>")
    first = cutter.token_to_id("<cls>") if found.xlnet else -1
    if first is None:
        raise DataError(
            f"{found.tokenizer}: has no token <cls>, which XLNet needs: download it again"
        )
    return unknown, first
