"""The recogniser with a token of sentiment: its losses, its fixed front end, and its search."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from voicetone.errors import DataError  # noqa: E402
from voicetone.language.tokens import EOS, FIRST, PAD, SOS, UNKNOWN  # noqa: E402
from voicetone.models.asr_search import (  # noqa: E402
    Found,
    PrefixScores,
    SearchSettings,
    greedy_ctc,
    search,
)
from voicetone.models.asr_tone import (  # noqa: E402
    SENTIMENT_IDS,
    TEXTLESS,
    AsrConfig,
    AsrTone,
    asr_targets,
    frames_needed,
    sequences,
)
from voicetone.models.conformer import ConformerConfig  # noqa: E402
from voicetone.models.front import Front, FrontConfig  # noqa: E402

FRONT = FrontConfig(mels=8, lags=4, stem=(2, 4), width=8, dilations=(1,), dropout=0.1)
ENCODER = ConformerConfig(inputs=8, width=8, layers=1, heads=2, kernel=3, past=6)
CONFIG = AsrConfig(vocabulary=FIRST + 4, conformer=ENCODER, layers=2, width=8, heads=2)
POSITIVE, NEUTRAL, NEGATIVE = SENTIMENT_IDS
A, B = FIRST, FIRST + 1


def made(**changes: object) -> AsrTone:
    torch.manual_seed(3)
    return AsrTone(Front(FRONT), AsrConfig(**{**CONFIG.__dict__, **changes}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def net() -> AsrTone:
    made_net = made().eval()
    # Sharper than at the start, so that hypotheses differ.
    with torch.no_grad():
        made_net.decoder.out.weight.mul_(6.0)
        made_net.ctc.weight.mul_(6.0)
    return made_net


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.randn(4, 40, 12, generator=torch.Generator().manual_seed(1))


LENGTHS = torch.tensor([40, 24, 30, 0])


def test_sequences_hold_label_and_words() -> None:
    targets = asr_targets(
        [[A, B], [A], [], [B, B]],
        [POSITIVE, UNKNOWN, NEGATIVE, NEUTRAL],
        [POSITIVE, UNKNOWN, NEGATIVE, UNKNOWN],
    )
    inputs, goals = sequences(targets)
    assert inputs.tolist() == [
        [SOS, POSITIVE, A, B],
        [SOS, UNKNOWN, A, PAD],
        [SOS, NEGATIVE, PAD, PAD],
        [SOS, UNKNOWN, B, B],
    ]
    assert goals.tolist() == [
        [POSITIVE, A, B, EOS],
        [-100, A, EOS, -100],
        [NEGATIVE, -100, -100, -100],
        [NEUTRAL, B, B, EOS],
    ]
    assert frames_needed(targets).tolist() == [2, 1, 0, 3]


def test_a_row_with_neither_is_refused() -> None:
    with pytest.raises(DataError, match="neither transcript nor sentiment"):
        asr_targets([[A], []], [POSITIVE, UNKNOWN])


def test_losses_are_those_of_the_parts(features: torch.Tensor) -> None:
    net = made(smoothing=0.0, ctc_share=0.4).eval()
    texts, labels = [[A, B, A], [B], []], [POSITIVE, UNKNOWN, NEGATIVE]
    loss = net(features[:3], LENGTHS[:3], asr_targets(texts, labels))
    words, sentiment = [], []
    with torch.no_grad():
        for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
            frames, real = net.memory(features[row : row + 1, : LENGTHS[row]], LENGTHS[row, None])
            given = torch.tensor([[SOS, label, *text]])
            heard = net.decoder.heard(frames)
            logits, _ = net.decoder(given, net.decoder.start(1), heard, real)
            scores = torch.log_softmax(logits[0], 1)
            if label != UNKNOWN:
                sentiment.append(-float(scores[0, label]))
            if text:
                words += [-float(scores[1 + k, t]) for k, t in enumerate([*text, EOS])]
    np.testing.assert_allclose(float(loss.words), np.mean(words), atol=1e-5)
    np.testing.assert_allclose(float(loss.sentiment), np.mean(sentiment), atol=1e-5)
    attention = np.mean(words + sentiment)
    expected = 0.6 * attention + 0.4 * float(loss.ctc)
    np.testing.assert_allclose(float(loss.total.detach()), expected, atol=1e-5)


def test_ctc_leaves_out_what_cannot_fit(features: torch.Tensor) -> None:
    net = made().eval()
    long = [A, A] * 10  # 39 frames needed, 20 there
    both = net(features[:2], LENGTHS[:2], asr_targets([long, [B]], [UNKNOWN, UNKNOWN]))
    alone = net(features[1:2], LENGTHS[1:2], asr_targets([[B]], [UNKNOWN]))
    assert (both.too_short, alone.too_short) == (1, 0)
    np.testing.assert_allclose(float(both.ctc), float(alone.ctc), atol=1e-5)
    only = net(features[:1], LENGTHS[:1], asr_targets([long], [UNKNOWN]))
    assert float(only.ctc) == 0.0
    assert math.isfinite(float(only.total.detach()))


def test_fixed_front_end_stays_as_it_is(features: torch.Tensor) -> None:
    net = made().train()
    assert net.conformer.training
    assert not net.front.training
    before = {k: v.clone() for k, v in net.front.state_dict().items()}
    loss = net(features[:2], LENGTHS[:2], asr_targets([[A], [B]], [POSITIVE, UNKNOWN]))
    loss.total.backward()
    assert all(p.grad is None for p in net.front.parameters())
    for name, weight in net.front.state_dict().items():
        torch.testing.assert_close(weight, before[name])
    free = made(front_trainable=True).train()
    assert free.front.training
    targets = asr_targets([[A], [B]], [POSITIVE, UNKNOWN])
    free(features[:2], LENGTHS[:2], targets).total.backward()
    grad = free.front.stem.conv1.weight.grad
    assert grad is not None
    assert float(grad.abs().sum()) > 0


def test_padding_changes_no_loss_nor_memory(net: AsrTone, features: torch.Tensor) -> None:
    with torch.no_grad():
        together, real = net.memory(features, LENGTHS)
        for row in range(3):
            alone, _ = net.memory(features[row : row + 1, : LENGTHS[row]], LENGTHS[row, None])
            assert int(real[row].sum()) == alone.shape[1]
            torch.testing.assert_close(together[row, : alone.shape[1]], alone[0], atol=1e-5, rtol=0)


def test_decoder_step_by_step_is_the_whole(net: AsrTone, features: torch.Tensor) -> None:
    tokens = torch.tensor([[SOS, POSITIVE, A, B, B], [SOS, UNKNOWN, B, A, A]])
    with torch.no_grad():
        frames, real = net.memory(features[:2], LENGTHS[:2])
        heard = net.decoder.heard(frames)
        whole, _ = net.decoder(tokens, net.decoder.start(2), heard, real)
        past, parts = net.decoder.start(2), []
        for size in (tokens[:, :2], tokens[:, 2:3], tokens[:, 3:]):
            part, past = net.decoder(size, past, heard, real)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conformer": ConformerConfig(inputs=9, width=8, heads=2)}, "front end gives"),
        ({"heads": 3}, "into 3 heads"),
        ({"ctc_share": 1.5}, "from 0 to 1"),
        ({"layers": 0}, "without layers"),
        ({"vocabulary": FIRST}, "without layers or tokens"),
    ],
)
def test_sizes_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(**changes)


def naive_greedy(net: AsrTone, frames: torch.Tensor, real: torch.Tensor) -> Found:
    """Word by word over the whole text so far, one clip, attention alone."""
    heard = net.decoder.heard(frames)
    start = torch.tensor([[SOS]])
    first = net.decoder(start, net.decoder.start(1), heard, real)[0][0, -1]
    share = torch.softmax(first[list(SENTIMENT_IDS)], 0)
    text, score = [SOS, SENTIMENT_IDS[int(share.argmax())]], 0.0
    while True:
        given = torch.tensor([text])
        logits = net.decoder(given, net.decoder.start(1), heard, real)[0][0, -1]
        scores = torch.log_softmax(logits.double(), 0)
        scores[list(TEXTLESS)] = -torch.inf
        most = math.ceil(1.5 * int(real.sum()))
        best = EOS if len(text) - 2 >= most else int(scores.argmax())
        score += float(scores[best])
        if best == EOS:
            return Found(tuple(text[2:]), score, tuple(share.tolist()))  # type: ignore[arg-type]
        text.append(best)


def test_beam_of_one_is_greedy_in_any_batch(net: AsrTone, features: torch.Tensor) -> None:
    with torch.no_grad():
        frames, real = net.memory(features, LENGTHS)
        together = search(net, frames, real, SearchSettings())
        assert together[3] == Found((), 0.0, None)
        for row in range(3):
            count = int(LENGTHS[row]) // 2
            alone = naive_greedy(net, frames[row : row + 1, :count], real[row : row + 1, :count])
            assert together[row].tokens == alone.tokens
            np.testing.assert_allclose(together[row].score, alone.score, atol=1e-4)
            np.testing.assert_allclose(together[row].sentiment, alone.sentiment, atol=1e-5)
    assert any(found.tokens for found in together)


@pytest.mark.parametrize(("share", "bonus"), [(0.0, 0.0), (0.4, 0.0), (0.3, 0.2), (1.0, 0.0)])
def test_beam_is_no_worse_and_a_full_one_the_best(
    net: AsrTone, features: torch.Tensor, share: float, bonus: float
) -> None:
    longest = 0.2  # of 20, 12 and 15 frames: up to four tokens
    settings = [SearchSettings(beam, share, bonus, longest) for beam in (1, 3, 400)]
    with torch.no_grad():
        frames, real = net.memory(features[:3], LENGTHS[:3])
        greedy, beam, full = (search(net, frames, real, s) for s in settings)
        for row in range(3):
            assert beam[row].score >= greedy[row].score
            best = brute_force(net, frames[row : row + 1], real[row : row + 1], settings[0])
            np.testing.assert_allclose(full[row].score, best[1], atol=1e-4)
            assert full[row].tokens == best[0]
            assert beam[row].score <= best[1] + 1e-6


def brute_force(
    net: AsrTone, frames: torch.Tensor, real: torch.Tensor, settings: SearchSettings
) -> tuple[tuple[int, ...], float]:
    """The best of all texts."""
    heard, count = net.decoder.heard(frames), int(real.sum())
    begin = net.decoder(torch.tensor([[SOS]]), net.decoder.start(1), heard, real)[0][0, 0]
    label = SENTIMENT_IDS[int(begin[list(SENTIMENT_IDS)].argmax())]
    ctc = net.ctc_scores(frames)[:, :count].transpose(0, 1)
    best: tuple[tuple[int, ...], float] = ((), -math.inf)
    for length in range(math.ceil(count * settings.longest) + 1):
        for text in itertools.product(range(FIRST, FIRST + 4), repeat=length):
            given = torch.tensor([[SOS, label, *text]])
            logits = net.decoder(given, net.decoder.start(1), heard, real)[0][0]
            scores = torch.log_softmax(logits, 1)[1:]
            attention = sum(float(scores[k, t]) for k, t in enumerate([*text, EOS]))
            score = (1 - settings.ctc_share) * attention + settings.bonus * length
            if settings.ctc_share:
                loss = torch.nn.functional.ctc_loss(
                    ctc, torch.tensor([list(text)]), (count,), (length,), reduction="sum"
                )
                score -= settings.ctc_share * float(loss)
            if score > best[1]:
                best = (text, score)
    return best


def test_prefix_scores_are_those_of_all_paths() -> None:
    frames, tokens = 4, 3  # blank and two letters
    scores = torch.log_softmax(
        torch.randn(1, frames, tokens, generator=torch.Generator().manual_seed(5)) * 2, 2
    )
    heard: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(tokens), repeat=frames):
        joined = tuple(k for k, _ in itertools.groupby(path) if k != PAD)
        chance = math.exp(sum(float(scores[0, t, k]) for t, k in enumerate(path)))
        heard[joined] = heard.get(joined, 0.0) + chance
    padded = torch.cat([scores, torch.randn(1, 2, tokens)], 1)
    for values, count in ((scores, 4), (padded, 6)):
        real = torch.ones(1, count)
        real[:, 4:] = 0.0
        prefixes = PrefixScores(values, real)
        for text in itertools.chain.from_iterable(
            itertools.product((1, 2), repeat=k) for k in range(1, 5)
        ):
            state, last = prefixes.start(), PAD
            for token in text:
                ends, states = prefixes.extended(
                    state, torch.tensor([[last]]), torch.tensor([[[token]]])
                )
                state, last = states[:, :, 0], token
            begun = sum(v for k, v in heard.items() if k[: len(text)] == text)
            np.testing.assert_allclose(math.exp(float(ends)), begun, atol=1e-9)
            whole = math.exp(float(prefixes.whole(state)))
            np.testing.assert_allclose(whole, heard.get(text, 0.0), atol=1e-9)
        empty = math.exp(float(prefixes.whole(prefixes.start())))
        np.testing.assert_allclose(empty, heard[()], atol=1e-9)


def test_greedy_ctc_joins_and_drops(net: AsrTone) -> None:
    path = [[A, A, PAD, A, B, PAD, PAD, B], [PAD] * 8, [B, B, A, A, B, B, A, A]]
    scores = torch.nn.functional.one_hot(torch.tensor(path), CONFIG.vocabulary).float() * 9

    class Fixed:
        def ctc_scores(self, frames: torch.Tensor) -> torch.Tensor:
            return scores

    real = torch.ones(3, 8)
    real[2, 3:] = 0.0
    found = greedy_ctc(Fixed(), torch.zeros(3, 8, 1), real)  # type: ignore[arg-type]
    assert found == [(A, A, B, B), (), (B, A)]


def test_all_blank_gives_an_empty_text(features: torch.Tensor) -> None:
    net = made().eval()
    with torch.no_grad():
        net.ctc.bias[PAD] = 50.0
        net.decoder.out.bias[EOS] = 50.0
        frames, real = net.memory(features, LENGTHS)
        for settings in (SearchSettings(), SearchSettings(beam=3, ctc_share=0.5)):
            assert [f.tokens for f in search(net, frames, real, settings)] == [()] * 4
        assert greedy_ctc(net, frames, real) == [()] * 4


def test_words_after_an_unknown_sentiment(net: AsrTone, features: torch.Tensor) -> None:
    with torch.no_grad():
        frames, real = net.memory(features[:1], LENGTHS[:1])
        unknown = search(net, frames, real, SearchSettings(condition="unknown"))[0]
        heard = net.decoder.heard(frames)
        given = torch.tensor([[SOS, UNKNOWN, *unknown.tokens]])
        logits = net.decoder(given, net.decoder.start(1), heard, real)[0][0]
    scores = torch.log_softmax(logits, 1)[1:]
    text = [*unknown.tokens, EOS]
    expected = sum(float(scores[k, t]) for k, t in enumerate(text))
    np.testing.assert_allclose(unknown.score, expected, atol=1e-4)
