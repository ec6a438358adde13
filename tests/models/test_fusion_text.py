"""Text encoders: folders of strangers, transcripts of every kind, and graphs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from voicetone.errors import DataError, UsageError
from voicetone.models import fusion_source, fusion_text
from voicetone.models.fusion import Audio, Fusion, FusionConfig, Text
from voicetone.models.fusion_source import text_source
from voicetone.models.fusion_text import TextConfig, TextEncoder, load_text
from voicetone.models.speaker_aware import SpeakerAware, SpeakerAwareConfig
from voicetone.pretrained.runtime import open_graph, run_graph
from voicetone.training.tone_export import exported

WORDS = ("all", "is", "well", "now")
SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "vocab_size": 12,
}
XLNET = {"d_model": 8, "n_layer": 2, "n_head": 2, "d_inner": 16, "vocab_size": 12}
FAMILIES: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "bert": ("Bert", ("[PAD]", "[UNK]", "[CLS]", "[SEP]"), SIZES),
    "roberta": ("Roberta", ("<s>", "<pad>", "</s>", "<unk>"), SIZES | {"pad_token_id": 1}),
    "xlm-roberta": ("XLMRoberta", ("<s>", "<pad>", "</s>", "<unk>"), SIZES | {"pad_token_id": 1}),
    "xlnet": ("XLNet", ("<unk>", "<sep>", "<cls>", "<pad>"), XLNET | {"pad_token_id": 3}),
}
LIMITS = {"bert": 12, "roberta": 10, "xlm-roberta": 10, "xlnet": 512}


def make(folder: Path, family: str, task: str = "Model", **more: Any) -> Path:
    """A folder with config.json, tokenizer.json and model.safetensors, of random weights."""
    name, specials, sizes = FAMILIES[family]
    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = getattr(transformers, f"{name}Config")(**{**sizes, **more})
        network = getattr(transformers, f"{name}{task}")(config)
        for parameter in network.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    tokenizer(family, specials).save(str(folder / "tokenizer.json"))
    return folder


def tokenizer(family: str, specials: tuple[str, ...]) -> Tokenizer:
    known = {word: place for place, word in enumerate((*specials, *WORDS))}
    unknown = next(name for name in specials if "unk" in name.lower())
    made = Tokenizer(models.WordLevel(known, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    single = {
        "bert": "[CLS]:0 $A:0 [SEP]:0",
        "xlnet": "$A:0 <sep>:0 <cls>:2",
    }.get(family, "<s>:0 $A:0 </s>:0")
    around = [name for name in specials if name in single]
    made.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(name, known[name]) for name in around]
    )
    made.add_special_tokens(list(specials))
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("text")
    return {family: make(root / family, family) for family in FAMILIES}


def encoder(folder: Path, **more: Any) -> TextEncoder:
    return load_text(TextConfig(str(folder), **more)).eval()


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_batch_is_each_text_alone(folders: dict[str, Path], family: str) -> None:
    read = encoder(folders[family])
    assert read.size == 8
    assert read.limit == min(LIMITS[family], 128)
    texts = ["all is well", "now", None, "all is well now all"]
    tokens = read.tokens(texts)
    assert tokens.known.tolist() == [1, 1, 0, 1]
    assert tokens.mask.sum(1).tolist() == [5, 3, 1, 7]
    with torch.no_grad():
        whole = read(tokens.ids, tokens.mask)
        assert whole.shape == (4, 7, 8)
        assert not whole[tokens.mask == 0].any()
        for row, text in enumerate(texts):
            one = read.tokens([text])
            count = one.ids.shape[1]
            assert torch.allclose(read(one.ids, one.mask)[0], whole[row, :count], atol=1e-5)
    assert whole.isfinite().all()
    assert not torch.allclose(whole[0, 1], whole[1, 1], atol=1e-2)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_vectors_are_the_librarys(folders: dict[str, Path], family: str) -> None:
    """As the library's own classes give them, from the token types of its own tokenizer."""
    read = encoder(folders[family])
    tokens = read.tokens(["all is well"])
    name = FAMILIES[family][0]
    network = getattr(transformers, f"{name}Model").from_pretrained(folders[family]).eval()
    cut = Tokenizer.from_file(str(folders[family] / "tokenizer.json")).encode("all is well")
    assert cut.ids == tokens.ids[0].tolist()
    with torch.no_grad():
        expected = network(
            torch.tensor([cut.ids]), token_type_ids=torch.tensor([cut.type_ids])
        ).last_hidden_state
        assert torch.allclose(read(tokens.ids, tokens.mask), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "task"),
    [("bert", "ForPreTraining"), ("roberta", "ForMaskedLM"), ("xlnet", "LMHeadModel")],
)
def test_published_weights_have_another_task_around_them(
    tmp_path: Path, family: str, task: str
) -> None:
    read = encoder(make(tmp_path / family, family, task))
    whole = getattr(transformers, FAMILIES[family][0] + task).from_pretrained(tmp_path / family)
    inner = getattr(whole, whole.base_model_prefix).eval()
    tokens = read.tokens(["all is well"])
    state = read.network.state_dict()
    assert len(state) > 20
    assert all(torch.equal(x, inner.state_dict()[name]) for name, x in state.items())
    assert read(tokens.ids, tokens.mask).isfinite().all()


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_graph_gives_the_same(folders: dict[str, Path], family: str) -> None:
    read = encoder(folders[family])
    tokens = read.tokens(["all is well", "now"])
    free = {0: "batch", 1: "words"}
    data = exported(read, (tokens.ids, tokens.mask), {"ids": free, "mask": free}, {"vectors": free})
    session = open_graph(data, 1)
    for texts in (["all is well", "now", None], ["all is well now all is well"], [None]):
        tokens = read.tokens(texts)
        with torch.no_grad():
            expected = read(tokens.ids, tokens.mask).numpy()
        given = {"ids": tokens.ids.numpy(), "mask": tokens.mask.numpy()}
        (found,) = run_graph(session, given, ["vectors"])
        assert np.allclose(found, expected, atol=1e-4)


def test_transcripts_of_every_kind(folders: dict[str, Path]) -> None:
    read = encoder(folders["bert"], limit=6)
    texts = ["", "  ", "… !", "zebra", "all zebra", "all is well now", "all is well now is", None]
    tokens = read.tokens(texts)
    assert tokens.known.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    assert tokens.unknown == (0, 0, 2, 1, 1, 0, 0, 0)
    assert tokens.cut == (False, False, False, False, False, False, True, False)
    assert torch.equal(tokens.ids[6], tokens.ids[5])  # cut at its end, the closing token stays
    assert tokens.mask.sum(1).tolist() == [1, 1, 1, 1, 4, 6, 6, 1]
    endless = read.tokens(["all " * 10**6])
    assert endless.cut == (True,)
    assert endless.ids.shape == (1, 6)
    assert read.tokens([]).ids.shape[0] == 0
    assert torch.equal(tokens.to(torch.device("cpu")).ids, tokens.ids)
    specials = read.tokens(["[SEP]"])  # words all the same, if odd ones
    assert specials.ids.shape[1] == 3


def test_a_missing_transcript_reaches_the_fusion_as_missing(folders: dict[str, Path]) -> None:
    read = encoder(folders["roberta"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = SpeakerAwareConfig(inputs=3, classes={"emotion": 3}, width=8, heads=2)
        net = Fusion(SpeakerAware(config), FusionConfig(read.size, heads=2)).eval()
    tokens = read.tokens(["all is well", "zebra"])
    frames = Audio(torch.ones(2, 9, 3), torch.ones(2, 9))
    with torch.no_grad():
        words = Text(read(tokens.ids, tokens.mask), tokens.mask, tokens.known)
        found = net(frames, words).logits["emotion"]
        alone = net(frames, None).logits["emotion"]
    assert torch.allclose(found[1], alone[1], atol=1e-5)
    assert not torch.allclose(found[0], alone[0], atol=1e-4)


def test_frozen_and_trained(folders: dict[str, Path]) -> None:
    frozen, trained = (encoder(folders["bert"], trainable=t).train() for t in (False, True))
    assert not frozen.network.training
    assert trained.network.training
    tokens = frozen.tokens(["all is well"])
    assert not frozen(tokens.ids, tokens.mask).requires_grad
    trained(tokens.ids, tokens.mask).sum().backward()
    assert trained.network.embeddings.word_embeddings.weight.grad.any()


def rewritten(folder: Path, **more: Any) -> None:
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | more))


def foreign_tokens(folder: Path) -> None:
    specials = (*FAMILIES["bert"][1], *(f"w{i}" for i in range(40)))
    tokenizer("bert", specials).save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: rewritten(f, model_type="gpt2"), "'gpt2' is no text encoder that is supported"),
        (lambda f: rewritten(f, hidden_size="8"), "hidden_size = 8 can't be a size of a text"),
        (lambda f: rewritten(f, num_hidden_layers=600), "num_hidden_layers = 600 can't be"),
        (lambda f: rewritten(f, vocab_size=10**7), "vocab_size = 10000000 can't be"),
        (lambda f: rewritten(f, vocab_size=10**6), "has more weights than its files hold"),
        (lambda f: rewritten(f, pad_token_id=12), "no room for tokens or for the padding"),
        (lambda f: rewritten(f, max_position_embeddings=2), "no room for tokens or for the pad"),
        (lambda f: rewritten(f, num_attention_heads=3), "the text encoder can't be made"),
        (lambda f: rewritten(f, num_hidden_layers=3), "weights of the text encoder for "),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json, which says how words"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "no tokenizer that can be read"),
        (foreign_tokens, "its tokens go up to 47 and the network knows 12"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors in it"),
        (lambda f: (f / "config.json").write_text("["), "no JSON, so it is damaged"),
    ],
)
def test_folders_that_are_not_in_order(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    folder = make(tmp_path / "bert", "bert")
    change(folder)
    with pytest.raises(DataError, match=message):
        encoder(folder)


def test_other_things_that_can_not_be(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="limit = 2 leaves no room for words"):
        TextConfig("x", limit=2)
    with pytest.raises(UsageError, match="give a folder, or NAME@REVISION"):
        load_text(TextConfig("some/model"))
    with pytest.raises(DataError, match="no such folder of a text encoder"):
        text_source(tmp_path / "none")
    monkeypatch.setattr(fusion_text, "fetched", lambda name, revision, wanted: folders["bert"])
    assert load_text(TextConfig("some/model@abc")).found.kind == "bert"
    assert not any(name.endswith((".bin", ".py", "/*")) for name in fusion_source.WANTED)
    monkeypatch.setattr(fusion_source, "_MOST_TOKENIZER", 10)
    with pytest.raises(DataError, match=r"larger than 64 MiB, which no such file is"):
        text_source(folders["bert"])
    monkeypatch.undo()
    xlnet = make(tmp_path / "xlnet", "xlnet")
    plain = tokenizer("bert", ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    plain.save(str(xlnet / "tokenizer.json"))
    with pytest.raises(DataError, match="has no token <cls>, which XLNet needs"):
        encoder(xlnet)
    wordy = tokenizer("bert", FAMILIES["bert"][1])
    wordy.post_processor = processors.TemplateProcessing(
        single="[CLS] [CLS] [SEP] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    bert = make(tmp_path / "bert", "bert")
    wordy.save(str(bert / "tokenizer.json"))
    with pytest.raises(DataError, match="puts 4 tokens of its own around words"):
        encoder(bert, limit=4)


def test_the_digest_is_of_what_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    first = make(tmp_path / "a", "bert")
    assert text_source(first).digest == text_source(folders["bert"]).digest
    (first / "tokenizer.json").write_text((first / "tokenizer.json").read_text() + "\n")
    assert text_source(first).digest != text_source(folders["bert"]).digest
