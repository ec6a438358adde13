"""Fusion of words and voice: what is missing, what is left out, batches, and graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from torch import Tensor, nn

from voicetone.errors import DataError
from voicetone.models.fusion import FUSIONS, Audio, Fusion, FusionConfig, Text
from voicetone.models.losses import LossSettings, Targets, multi_loss
from voicetone.models.speaker_aware import Scores, SpeakerAware, SpeakerAwareConfig
from voicetone.pretrained.runtime import open_graph, run_graph
from voicetone.training.tone_export import exported

ACOUSTIC = SpeakerAwareConfig(
    inputs=5,
    classes={"emotion": 4, "sentiment": 3},
    dimensions=2,
    width=8,
    layers=1,
    heads=2,
    expand=2,
    subsample=2,
    integration="addition",
    speaker=6,
    context=2,
)
FRAMES = torch.tensor([11, 6, 3])
TOKENS = torch.tensor([2, 7, 4])
BOTH = torch.ones(3)


def made(fusion: str, seed: int = 0, **more: object) -> Fusion:
    """A network whose every parameter has left its start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Fusion(SpeakerAware(ACOUSTIC), FusionConfig(7, fusion, heads=2, **more))  # type: ignore[arg-type]
        for parameter in net.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return net.eval()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def before(lengths: Tensor, count: int) -> Tensor:
    return (torch.arange(count) < lengths[:, None]).float()


def audio(known: Tensor | None = None, count: int = 11, seed: int = 0) -> Audio:
    mask = before(FRAMES.clamp(max=count), count)
    who = torch.tensor([1.0, 0.0, 1.0])
    return Audio(drawn(3, count, 5, seed=seed), mask, known, drawn(3, 6, seed=1), who)


def text(known: Tensor | None = None, count: int = 7, seed: int = 2) -> Text:
    return Text(drawn(3, count, 7, seed=seed), before(TOKENS.clamp(max=count), count), known)


def flat(scores: Scores) -> Tensor:
    parts = [*scores.logits.values(), scores.dimensions]
    return torch.cat(
        parts if scores.text_share is None else [*parts, scores.text_share[:, None]], 1
    )


def far(first: Tensor, second: Tensor) -> list[bool]:
    return ((first - second).abs().amax(dim=1) > 1e-3).tolist()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_batch_is_each_utterance_alone(fusion: str) -> None:
    net = made(fusion)
    heard, read = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 1.0])
    sound, words = audio(heard), text(read)
    gone = torch.where(before(TOKENS * read.long(), 7)[:, :, None] > 0, words.tokens, torch.nan)
    quiet = torch.where(before(FRAMES * heard.long(), 11)[:, :, None] > 0, sound.frames, torch.nan)
    with torch.no_grad():
        whole = flat(net(sound, words))
        assert torch.equal(
            flat(net(sound._replace(frames=quiet), words._replace(tokens=gone))), whole
        )
        for row in range(3):
            a = Audio(*(part[row : row + 1] for part in sound if part is not None))
            b = Text(*(part[row : row + 1] for part in words if part is not None))
            n, m = int(FRAMES[row]), int(TOKENS[row])
            a = a._replace(frames=a.frames[:, :n], mask=a.mask[:, :n])
            b = b._replace(tokens=b.tokens[:, :m], mask=b.mask[:, :m])
            assert torch.allclose(flat(net(a, b))[0], whole[row], atol=1e-5)
    assert whole.isfinite().all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_missing_modality_is_not_looked_at(fusion: str) -> None:
    """Unknown, not used and not given are the same; what is there does matter."""
    net, none = made(fusion), torch.zeros(3)
    with torch.no_grad():
        both = flat(net(audio(), text()))
        assert far(flat(net(audio(), text(seed=8))), both) == [True] * 3
        assert far(flat(net(audio(seed=8), text())), both) == [True] * 3
        deaf = flat(net(audio(), text(none)))
        assert far(deaf, both) == [True] * 3
        assert torch.equal(flat(net(audio(), text(none, seed=8))), deaf)
        for other in (
            net(audio(), text(), use_text=False),
            net(audio(), None),
            net(audio(), text()._replace(mask=torch.zeros(3, 7))),
        ):
            assert torch.allclose(flat(other), deaf, atol=1e-5)
        read = flat(net(audio(none), text()))
        assert far(read, both) == [True] * 3
        for other in (
            net(audio(), text(), use_audio=False),
            net(None, text()),
            net(audio(none, seed=8), text()),
            net(audio()._replace(mask=torch.zeros(3, 11)), text()),
        ):
            assert torch.allclose(flat(other), read, atol=1e-5)
        neither = net(audio(none), text(none))
    assert not any(logits.any() for logits in neither.logits.values())
    assert torch.equal(neither.dimensions, torch.full((3, 2), 0.5))
    for nothing in (lambda: net(None, None), lambda: net(audio(), None, use_audio=False)):
        with pytest.raises(DataError, match="neither voice nor words are used"):
            nothing()


def test_late_is_the_mean_of_both_opinions() -> None:
    net = made("late")
    net.weight.data = torch.tensor([0.4, -2.0, 1.0])
    with torch.no_grad():
        both, one, other = net(audio(), text()), net(audio(), None), net(None, text())
        alone = net.acoustic(*audio()[:2], *audio()[3:])
    part = torch.sigmoid(net.weight.detach())
    for place, space in enumerate(("emotion", "sentiment")):
        assert torch.allclose(one.logits[space], alone.logits[space].log_softmax(1), atol=1e-5)
        mean = (1 - part[place]) * one.logits[space] + part[place] * other.logits[space]
        assert torch.allclose(both.logits[space], mean, atol=1e-5)
    mean = (1 - part[2]) * one.dimensions + part[2] * other.dimensions
    assert torch.allclose(both.dimensions, mean, atol=1e-5)
    assert torch.allclose(both.text_share, part.mean().expand(3))
    assert torch.equal(one.text_share, torch.zeros(3))
    assert torch.equal(other.text_share, torch.ones(3))


def test_the_gate_says_how_much_words_count() -> None:
    net = made("gated")
    with torch.no_grad():
        net.gate.weight.zero_()
        net.gate.bias.fill_(30.0)
        only = net(audio(), text())
        assert torch.allclose(only.text_share, torch.zeros(3), atol=1e-6)
        assert torch.allclose(flat(net(audio(), text(seed=9))), flat(only), atol=1e-6)
        net.gate.bias.fill_(-30.0)
        words = net(audio(), text())
        assert torch.allclose(words.text_share, torch.ones(3))
        assert torch.allclose(flat(net(audio(seed=9), text())), flat(words), atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_reach_everything(fusion: str) -> None:
    net = made(fusion).train()
    sound, words = audio(torch.tensor([0.0, 1.0, 1.0])), text(torch.tensor([1.0, 1.0, 0.0]))
    context = drawn(3, 2, 8, seed=3)
    flat(net(sound, words, context)).square().sum().backward()
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_missing_row_teaches_no_encoder(fusion: str) -> None:
    net = made(fusion)
    nan = text(torch.zeros(3))._replace(tokens=torch.full((3, 7, 7), torch.nan))
    flat(net(audio(), nan)).square().sum().backward()
    assert net.enter[1].weight.grad is None or not net.enter[1].weight.grad.any()
    assert fusion == "late" or net.no_text.grad.any()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_context(fusion: str) -> None:
    net, context = made(fusion), drawn(3, 2, 8, seed=3)
    mask = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    with torch.no_grad():
        plain, told = net(audio(), text()), net(audio(), text(), context, mask)
    assert far(flat(plain), flat(told)) == [True, True, False]
    assert torch.equal(plain.vector, told.vector)


def test_modality_dropout() -> None:
    net = made("gated", drop_audio=0.4, drop_text=0.5)
    rows = 4000
    heard, read = torch.ones(rows), (torch.arange(rows) % 2).float()
    first = net.drop(heard, read, torch.Generator().manual_seed(1))
    again = net.drop(heard, read, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = net.drop(heard, read, torch.Generator().manual_seed(2))
    assert not torch.equal(first[0], other[0])
    a, b = first
    assert ((a + b) > 0).all()
    assert torch.equal(a[read == 0], torch.ones(rows // 2))  # nothing else is left of them
    assert not b[read == 0].any()
    # Of those with both: 0.4 and 0.5, but for the 0.2 that would lose both.
    assert a[read == 1].mean() == pytest.approx(0.8, abs=0.03)
    assert b[read == 1].mean() == pytest.approx(0.7, abs=0.03)
    nobody = net.drop(torch.zeros(2), torch.zeros(2), torch.Generator())
    assert not torch.stack(nobody).any()


class Graph(nn.Module):
    """A network with its outputs in a row, as exporters want them."""

    def __init__(self, net: Fusion) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        scores = self.net(Audio(*inputs[:5]), Text(*inputs[5:8]), *inputs[8:])
        return (*scores.logits.values(), scores.dimensions, scores.vector)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_graph_gives_the_same(fusion: str) -> None:
    net = made(fusion)
    graph = Graph(net)
    names = ("frames", "mask", "heard", "speaker", "known", "tokens", "token_mask", "read")
    names += ("context", "context_mask")
    outputs = ("emotion", "sentiment", "dimensions", "vector")

    def given(
        rows: int, frames: int, tokens: int, heard: list[float], read: list[float]
    ) -> list[Tensor]:
        whole = [*audio(torch.tensor(heard), frames), *text(torch.tensor(read), tokens)]
        whole += [drawn(3, 2, 8, seed=3), torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])]
        return [part[:rows] for part in whole if part is not None]

    longs = {"frames": "steps", "mask": "steps", "tokens": "words", "token_mask": "words"}
    data = exported(
        graph,
        tuple(given(2, 9, 6, [1.0, 0.0, 1.0], [1.0, 1.0, 0.0])),
        {n: {0: "batch", 1: longs[n]} if n in longs else {0: "batch"} for n in names},
        {name: {0: "batch"} for name in outputs},
    )
    session = open_graph(data, 1)
    both, none = [1.0] * 3, [0.0] * 3
    for rows, frames, tokens, heard, read in (
        (3, 11, 7, both, both),
        (3, 40, 1, both, none),
        (3, 1, 60, none, both),
        (1, 7, 3, both, both),
        (3, 8, 5, [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]),
    ):
        inputs = given(rows, frames, tokens, heard, read)
        with torch.no_grad():
            expected = graph(*inputs)
        fed = {name: part.numpy() for name, part in zip(names, inputs, strict=True)}
        for mine, theirs in zip(expected, run_graph(session, fed, list(outputs)), strict=True):
            assert np.allclose(mine.numpy(), theirs, atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_it_learns_which_modality_tells(fusion: str) -> None:
    """Words that carry the class are learned from; taken away, what is left is chance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = replace(ACOUSTIC, classes={"emotion": 2}, dimensions=0, context=0, dropout=0.0)
        net = Fusion(SpeakerAware(config), FusionConfig(7, fusion, heads=2, dropout=0.0))
    truth = torch.arange(40) % 2
    tokens = drawn(40, 3, 7, seed=5)
    tokens[:, 1, 2] = 4.0 * truth - 2.0
    words = Text(tokens, torch.ones(40, 3))
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    draws = torch.Generator().manual_seed(0)
    for step in range(40):
        heard, read = net.drop(torch.ones(40), torch.ones(40), draws)
        sound = Audio(drawn(40, 6, 5, seed=step), torch.ones(40, 6), heard, torch.zeros(40, 6))
        scores = net(sound, words._replace(known=read))
        targets = Targets({"emotion": truth}, {})
        loss = multi_loss(scores.logits, scores.dimensions, None, targets, LossSettings())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    new = Audio(drawn(40, 6, 5, seed=99), torch.ones(40, 6), None, torch.zeros(40, 6))
    with torch.no_grad():
        hit = (net(new, words).logits["emotion"].argmax(1) == truth).float().mean()
        alone = (net(new, None).logits["emotion"].argmax(1) == truth).float().mean()
    assert hit > 0.9
    assert alone < 0.75


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"fusion": "magic"}, "fusion 'magic' is not known: choose of early, late"),
        ({"text": 0}, "text = 0 can't be: give a size of 1 or more"),
        ({"drop_text": 1.0}, "drop_text = 1 is no share that can be hidden"),
        ({"heads": 3}, "a width of 8 can't be split into 3 heads of a fusion"),
    ],
)
def test_settings_that_can_not_be(more: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Fusion(SpeakerAware(ACOUSTIC), FusionConfig(**{"text": 7, "heads": 2, **more}))  # type: ignore[arg-type]


def test_tokens_that_can_not_be() -> None:
    net = made("early")
    for shape in ((3, 7, 6), (3, 0, 7)):
        with pytest.raises(DataError, match=f"{shape[1]} tokens of {shape[2]} values, and the net"):
            net(audio(), Text(torch.zeros(shape), torch.zeros(shape[:2])))
