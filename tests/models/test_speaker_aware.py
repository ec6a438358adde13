"""The speaker-aware transformer: each way of bringing the speaker in, alone, in a batch, and as a
graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from torch import Tensor, nn

from voicetone.errors import DataError
from voicetone.models.speaker_aware import (
    INTEGRATIONS,
    Scores,
    SpeakerAware,
    SpeakerAwareConfig,
    parameters,
)
from voicetone.models.speaker_aware_parts import (
    Context,
    Pooling,
    Voice,
    hidden,
    reversed_gradient,
)
from voicetone.pretrained.runtime import open_graph, run_graph
from voicetone.training.tone_export import exported

PLAIN = SpeakerAwareConfig(
    inputs=5,
    classes={"emotion": 4, "sentiment": 3},
    dimensions=2,
    width=8,
    layers=2,
    heads=2,
    expand=2,
    subsample=3,
    speaker=6,
    speakers=3,
    context=2,
)
LENGTHS = torch.tensor([20, 13, 1])


def config(integration: str, **more: object) -> SpeakerAwareConfig:
    return replace(PLAIN, integration=integration, **more)


def made(integration: str, seed: int = 0, **more: object) -> SpeakerAware:
    """A network whose every parameter has left its start, so that nothing is still zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SpeakerAware(config(integration, **more))
        for parameter in net.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return net.eval()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(count: int = 20) -> dict[str, Tensor]:
    lengths = LENGTHS.clamp(max=count)
    return {
        "frames": drawn(3, count, 5),
        "mask": (torch.arange(count) < lengths[:, None]).float(),
        "speaker": drawn(3, 6, seed=1),
        "known": torch.tensor([1.0, 0.0, 1.0]),
        "context": drawn(3, 2, 8, seed=2),
        "context_mask": torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]),
    }


def flat(scores: Scores) -> Tensor:
    return torch.cat([*scores.logits.values(), scores.dimensions, scores.vector], dim=1)


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_a_batch_is_each_utterance_alone(integration: str) -> None:
    net, given = made(integration), batch()
    with torch.no_grad():
        whole = net(**given)
        for row, length in enumerate(LENGTHS.tolist()):
            one = {name: x[row : row + 1] for name, x in given.items()}
            one["frames"], one["mask"] = one["frames"][:, :length], one["mask"][:, :length]
            assert torch.allclose(flat(net(**one))[0], flat(whole)[row], atol=1e-5)
        loud = torch.where(given["mask"][:, :, None] > 0, given["frames"], torch.nan)
        assert torch.equal(flat(net(**{**given, "frames": loud})), flat(whole))
    assert whole.logits["emotion"].shape == (3, 4)
    assert whole.logits["sentiment"].shape == (3, 3)
    assert ((whole.dimensions > 0) & (whole.dimensions < 1)).all()
    assert flat(whole).std(dim=0).min() > 1e-3  # each output moves with its input


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_who_speaks_matters_where_it_should(integration: str) -> None:
    net, given = made(integration), batch()
    other = {**given, "speaker": drawn(3, 6, seed=9)}
    with torch.no_grad():
        first, second = flat(net(**given)), flat(net(**other))
        scaled = flat(net(**{**given, "speaker": 7.0 * given["speaker"]}))
    moved = (first - second).abs().amax(dim=1) > 1e-3
    assert moved.tolist() == [net.config.takes_speaker, False, net.config.takes_speaker]
    assert torch.allclose(scaled, first, atol=1e-4)
    unknown = {**given, "speaker": torch.full((3, 6), torch.nan), "known": torch.zeros(3)}
    with torch.no_grad():
        alone = flat(net(**unknown))
    assert torch.allclose(alone[1], first[1], atol=1e-5)
    assert alone.isfinite().all()


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_gradients_reach_everything(integration: str) -> None:
    net, given = made(integration).train(), batch()
    scores = net(**given)
    loss = flat(scores).square().sum()
    loss = loss if scores.speakers is None else loss + scores.speakers.square().sum()
    loss.backward()
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_parameters_are_those_of_the_docstring(integration: str) -> None:
    width, size, speakers, tokens = 8, 6, 3, 4
    for places in ((), (1,), (0, 2)):
        counted = parameters(config(integration, places=places))
        count, final = len(places or (0, 1, 2)), 2 in (places or (0, 1, 2))
        voice = (size + 2) * width
        expected = {
            "none": 0,
            "prefix": voice,
            "addition": voice + count * (width**2 + width),
            "concatenation": voice + count * (2 * width**2 + width),
            "conditional-norm": voice + (2 * count - final) * (2 * width**2 + 2 * width),
            "cross-attention": tokens * voice + count * (4 * width**2 + 6 * width),
            "gradient-reversal": width**2 + width + (width + 1) * speakers,
        }
        assert counted.integration == expected[integration]
        assert counted.rest == parameters(config("none")).rest
        net = SpeakerAware(config(integration, places=places))
        assert sum(p.numel() for p in net.parameters()) == sum(counted)


def test_all_start_from_the_same_weights() -> None:
    def started(integration: str) -> SpeakerAware:
        torch.manual_seed(4)
        return SpeakerAware(config(integration)).eval()

    with torch.random.fork_rng(devices=[]):
        plain = started("none")
        for integration in INTEGRATIONS:
            state = started(integration).state_dict()
            assert all(torch.equal(state[n], x) for n, x in plain.state_dict().items())
        with torch.no_grad():
            expected = flat(plain(**batch()))
            # FiLM starts as the identity.
            assert torch.equal(flat(started("conditional-norm")(**batch())), expected)
            assert not torch.equal(flat(started("addition")(**batch())), expected)


@pytest.mark.parametrize("integration", ["concatenation", "addition", "conditional-norm"])
def test_places(integration: str) -> None:
    """The speaker is met where it is told to be: behind the last layer no frame has moved yet."""
    early, late = made(integration, places=(0,)), made(integration, places=(2,))
    assert early.config.at == (0,)
    assert made(integration).config.at == (0, 1, 2)
    seen: list[Tensor] = []
    for net in (early, late):
        net.layers[1].register_forward_hook(lambda _, __, out: seen.append(out))
        for seed in (1, 2):
            net(**{**batch(), "speaker": drawn(3, 6, seed=seed)})
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_a_graph_gives_the_same(integration: str) -> None:
    net = made(integration)
    graph = Graph(net)
    names = ["frames", "mask", *(["speaker", "known"] if net.config.takes_speaker else [])]
    names += ["context", "context_mask"]
    two = {name: x[:2] for name, x in batch(12).items()}
    free = {"frames": {0: "batch", 1: "time"}, "mask": {0: "batch", 1: "time"}}
    data = exported(
        graph,
        tuple(two[name] for name in names),
        {name: free.get(name, {0: "batch"}) for name in names},
        {name: {0: "batch"} for name in ("emotion", "sentiment", "dimensions", "vector")},
    )
    session = open_graph(data, 1)
    for rows, count in ((3, 20), (3, 7), (1, 1), (2, 300)):
        given = {name: x[:rows] for name, x in batch(count).items() if name in names}
        with torch.no_grad():
            expected = graph(*(given[name] for name in names))
        found = run_graph(
            session,
            {name: x.numpy() for name, x in given.items()},
            ["emotion", "sentiment", "dimensions", "vector"],
        )
        for mine, theirs in zip(expected, found, strict=True):
            assert np.allclose(mine.numpy(), theirs, atol=1e-4)


class Graph(nn.Module):
    """A network with its outputs in a row, as exporters want them."""

    def __init__(self, net: SpeakerAware) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor, mask: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        *speaker, context, context_mask = more
        who = speaker or (None, None)
        scores = self.net(frames, mask, *who, context, context_mask)
        return (*scores.logits.values(), scores.dimensions, scores.vector)


def test_the_reversal_turns_the_gradient() -> None:
    x = drawn(3, 4).requires_grad_()
    y = reversed_gradient(x, 0.25)
    assert torch.allclose(y, x, atol=1e-6)
    (y * torch.arange(4.0)).sum().backward()
    assert torch.allclose(x.grad, -0.25 * torch.arange(4.0).expand(3, 4))


def test_the_adversary_hides_the_speaker() -> None:
    """The classifier learns by its own gradient, the encoder against it."""
    net = made("gradient-reversal", reversal=0.5)
    plain = made("gradient-reversal", reversal=0.0)
    grads = []
    for one in (net, plain):
        speakers = one(**batch()).speakers
        assert speakers is not None
        assert speakers.shape == (3, 3)
        nn.functional.cross_entropy(speakers, torch.tensor([0, 1, 2])).backward()
        grads.append(dict(one.named_parameters()))
    own = "adversary.layers.2.weight"
    assert torch.allclose(grads[0][own].grad, grads[1][own].grad, atol=1e-5)
    assert grads[0]["convolution.weight"].grad.abs().max() > 0
    assert not grads[1]["convolution.weight"].grad.any()
    net.reversal = 0.0  # training may change it
    net.zero_grad()
    scores = net(**batch())
    scores.speakers.sum().backward()
    assert not net.convolution.weight.grad.any()


@pytest.mark.parametrize("integration", ["conditional-norm", "cross-attention"])
def test_networks_of_one_kind_can_be_trained_at_once(integration: str) -> None:
    """Folds and seeds as one program with stacked weights: the gradients are those of each."""
    from torch.func import functional_call, grad, stack_module_state, vmap
    from torch.nn.attention import SDPBackend, sdpa_kernel

    nets = [made(integration, seed) for seed in (1, 2)]
    stacked, _ = stack_module_state(nets)
    given = {name: torch.stack([x, x.flip(0)]) for name, x in batch().items()}

    def loss(weights: dict[str, Tensor], one: dict[str, Tensor]) -> Tensor:
        return flat(functional_call(nets[0], weights, (), one)).square().mean()

    with sdpa_kernel(SDPBackend.MATH):
        together = vmap(grad(loss))(stacked, given)
    for place, net in enumerate(nets):
        flat(net(**{name: x[place] for name, x in given.items()})).square().mean().backward()
        for name, parameter in net.named_parameters():
            assert torch.allclose(together[name][place], parameter.grad, rtol=1e-3, atol=1e-4)


def test_context() -> None:
    net, given = made("none"), batch()
    without = {n: x for n, x in given.items() if "context" not in n}
    with torch.no_grad():
        told, plain = net(**given), net(**without)
        shorter = net(**without, context=given["context"][:, 1:])
        masked = net(**{**given, "context_mask": torch.tensor([[0.0, 1.0]]).expand(3, 2)})
        nan = torch.where(given["context_mask"][:, :, None] > 0, given["context"], torch.nan)
        again = net(**{**given, "context": nan})
    moved = (told.logits["emotion"] - plain.logits["emotion"]).abs().amax(dim=1) > 1e-4
    assert moved.tolist() == [True, True, False]  # the last has no utterance before it
    assert torch.equal(told.vector, plain.vector)
    assert torch.allclose(flat(shorter), flat(masked), atol=1e-6)
    assert torch.equal(flat(again), flat(told))
    with pytest.raises(DataError, match="3 utterances of context: give 1 to 2"):
        net(**without, context=torch.zeros(3, 3, 8))
    assert isinstance(net.context, Context)
    assert made("none", context=0).context is None


def test_pooling_of_nothing() -> None:
    pooling = Pooling(4).eval()
    x, real = drawn(2, 6, 4), torch.tensor([[1.0] * 6, [0.0] * 6])
    with torch.no_grad():
        found = pooling(x, real)
        assert torch.equal(found[1], pooling(9 * x, real)[1])
        first = pooling(x[:1, :1], real[:1, :1])
    assert found.isfinite().all()
    assert first.isfinite().all()


def test_hidden_speakers_are_drawn_again_from_one_seed() -> None:
    known = torch.tensor([1.0, 0.0] * 500)
    first, again = (hidden(known, 0.3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, hidden(known, 0.3, torch.Generator().manual_seed(2)))
    assert not first[1::2].any()
    assert first[::2].mean() == pytest.approx(0.7, abs=0.06)
    assert torch.equal(hidden(known, 0.0, torch.Generator()), known)


def test_voices() -> None:
    voice = Voice(6, 8, 4)
    speaker = drawn(2, 6)
    tokens = voice(speaker, torch.tensor([1.0, 0.0]))
    assert tokens.shape == (2, 4, 8)
    assert torch.equal(tokens[1], voice.unknown)
    zeros = voice(torch.zeros(1, 6), torch.ones(1))
    assert torch.equal(zeros.flatten(), voice.project.bias)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"width": 9}, "a width of 9 can't be split into 2 heads"),
        ({"layers": 0}, "layers = 0 can't be: give 1 or more"),
        ({"context": -1}, "context = -1 can't be: give 0 or more"),
        ({"classes": {}, "dimensions": 0}, "without classes or dimensions tells nothing"),
        ({"classes": {"x": 1}}, "fewer than two classes"),
        ({"dropout": 1.0}, "dropout = 1 is no share"),
        ({"integration": "magic"}, "integration 'magic' is not known: choose of none, conc"),
        ({"integration": "prefix", "speaker": 0}, "prefix needs the size of the speaker emb"),
        ({"integration": "gradient-reversal", "speakers": 1}, "number of training speakers"),
        ({"reversal": -1.0}, "reversal = -1 would help the speaker classifier"),
        ({"places": (3,)}, r"places \[3\] can't be: give different ones from 0 to 2"),
        ({"places": (1, 1)}, r"places \[1, 1\] can't be"),
    ],
)
def test_settings_that_can_not_be(more: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(PLAIN, **more)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x | {"frames": torch.zeros(3, 20, 4)}, "frames of 4 values, and the network"),
        (lambda x: x | {"frames": torch.zeros(3, 0, 5)}, "an utterance of 0 frames, and"),
        (lambda x: x | {"frames": torch.zeros(3, 51, 5)}, "takes 1 to 50: cut it"),
        (lambda x: x | {"speaker": torch.zeros(3, 7)}, "embeddings of 7 values, and the network"),
        (lambda x: x | {"speaker": None}, "integration addition needs speaker embeddings"),
    ],
)
def test_inputs_that_can_not_be(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        made("addition", max_frames=50)(**change(batch()))
