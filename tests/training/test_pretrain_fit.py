"""Pretraining on made-up features: it learns, repeats itself, goes on after a kill, keeps files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from voicetone.errors import DataError
from voicetone.features.spectral import SpectralConfig
from voicetone.models.best_rq import hidden_frames
from voicetone.models.front import Front, FrontConfig
from voicetone.training.front_recipe import FrontSizes, front_config
from voicetone.training.pretrain_fit import (
    _repeats,
    batch,
    code_use,
    held_out_metrics,
    new_network,
    pooled,
    pretrain,
    settle,
)
from voicetone.training.pretrain_recipe import PretrainSettings
from voicetone.training.pretrain_state import load_front, save_front
from voicetone.training.tone_data import Clip, ClipStore, normalisation, pack

SPECTRAL = SpectralConfig()
FRONT = front_config(
    FrontSizes(width=8, stem=(2, 3), expand=2, kernel=3, dilations=(1, 2), dropout=0.1), SPECTRAL
)
SETTINGS = PretrainSettings(
    steps=6, batch=4, frames=32, codes=16, codebooks=1, dimension=4, whiten=8, mask_chance=0.1,
    mask_span=3, context_width=8, settle=3,
)  # fmt: skip
TRAIN, VALIDATION = np.arange(8), np.arange(8, 14)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store() -> ClipStore:
    """Fourteen clips of two variants: three spectra that come round, so a gap can be filled."""
    rng = np.random.default_rng(0)
    shapes = rng.normal(0, 2, (3, SPECTRAL.size))
    rows = []
    for clip in range(14):
        frames = 2 * (14 + clip)
        turn = (np.arange(frames) // 2 + clip) % 3
        rows.append([
            Clip((shapes[turn] + rng.normal(0, 0.1, (frames, SPECTRAL.size))).astype(np.float16),
                 np.ones(frames // 2, dtype=bool))
            for _ in range(2)
        ])  # fmt: skip
    return pack(rows)


def fit(store: ClipStore, settings: PretrainSettings = SETTINGS, **more: Any) -> Any:
    wanted: dict[str, Any] = {"train": TRAIN, "validation": VALIDATION, "seed": 1, **more}
    wanted.setdefault("progress", lambda step, loss: None)
    return pretrain(FRONT, settings, store, device=CPU, **wanted)


def same(one: Front, two: Front) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_what_can_be_learnt(store: ClipStore) -> None:
    _, metrics = fit(store, replace(SETTINGS, steps=120, rate=1e-2, whiten=2))
    masked = metrics["masked"]
    assert masked["accuracy"] > masked["most_frequent"] + 0.3
    assert masked["accuracy"] > masked["repeat_last"] + 0.3
    assert metrics["last_loss"] < metrics["first_loss"] / 2
    assert metrics["codes"]["used"] >= 3 / 16


def test_two_runs_give_the_same_and_another_seed_another(store: ClipStore) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, first = fit(store)
    assert torch.equal(torch.get_rng_state(), before)  # what the caller draws is left alone
    torch.manual_seed(6)
    two, second = fit(store)
    assert same(one, two)
    assert first == second
    assert not same(one, fit(store, seed=2)[0])
    assert not one.training
    assert not any(p.requires_grad for p in one.parameters())


def test_only_training_rows_are_heard(store: ClipStore) -> None:
    spoilt = ClipStore(store.features.copy(), store.speech, store.starts, store.lengths)
    for row in VALIDATION:
        for variant in range(2):
            spoilt.clip(int(row), variant).features[:] = np.nan
    one, _ = fit(store)
    two, metrics = fit(spoilt, validation=np.array([], dtype=np.int64))
    assert same(one, two)
    assert "masked" not in metrics


def test_normalisation_is_that_of_the_training_clips(store: ClipStore) -> None:
    frames = np.concatenate(
        [store.clip(int(i), v).features.astype(np.float64) for i in TRAIN for v in range(2)]
    )
    mean, spread = normalisation(store, TRAIN)
    np.testing.assert_allclose(mean, frames.mean(0), atol=1e-5)
    np.testing.assert_allclose(spread, frames.std(0) + 1e-3, rtol=1e-4)
    front, _ = fit(store)
    np.testing.assert_array_equal(front.mean, mean)


def test_a_batch_holds_clips_one_after_another(store: ClipStore) -> None:
    numbered = ClipStore(
        np.arange(len(store.features), dtype=np.float16)[:, None], store.speech, store.starts,
        store.lengths,
    )  # fmt: skip
    settings = replace(SETTINGS, batch=50)
    rows = batch(numbered, np.random.default_rng(0), np.array([0, 1, 13]), settings)[:, :, 0]
    assert rows.shape == (50, 32)
    known = {
        (clip, variant): numbered.clip(clip, variant).features[:, 0].tolist()
        for clip in (0, 1, 13)
        for variant in range(2)
    }
    seen = set()
    for row in rows.tolist():
        while row:
            (key,) = [k for k, frames in known.items() if row[0] in frames]
            at = known[key].index(row[0])
            part = known[key][at : at + len(row)][:32]
            assert row[: len(part)] == part
            assert at % 2 == 0  # a frame is two feature frames
            row = row[len(part) :]
            seen.add((*key, at))
    assert {k[:2] for k in seen} == set(known)
    assert len({k[2] for k in seen if k[0] == 13}) > 1


class KilledError(Exception):
    pass


def killer(at: int) -> Callable[[int, float], None]:
    def progress(step: int, _: float) -> None:
        if step == at:
            raise KilledError

    return progress


@pytest.mark.parametrize("at", [3, 5])
def test_a_killed_training_goes_on_as_if_nothing_had_been(
    store: ClipStore, tmp_path: Path, at: int
) -> None:
    state = tmp_path / "state.safetensors"
    with pytest.raises(KilledError):
        fit(store, state=state, save_every=2, progress=killer(at))
    steps: list[int] = []
    front, metrics = fit(
        store, state=state, save_every=2, progress=lambda step, loss: steps.append(step)
    )
    assert steps == list(range(at, 7)) if at == 3 else steps == [5, 6]
    whole, wanted = fit(store)
    assert same(front, whole)
    assert metrics == wanted
    again, _ = fit(store, state=state, save_every=2, progress=killer(1))  # nothing is left to do
    assert same(again, whole)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [("settings", "of another training"), ("seed", "of another training"), ("cut", "")],
)
def test_a_state_that_does_not_fit_is_refused(
    store: ClipStore, tmp_path: Path, spoil: str, reason: str
) -> None:
    state = tmp_path / "state.safetensors"
    fit(store, state=state)
    settings, seed = SETTINGS, 1
    if spoil == "settings":
        settings = replace(SETTINGS, rate=1e-3)
    elif spoil == "seed":
        seed = 2
    else:
        state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"can't go on from it \(.*{reason}.*delete the file"):
        fit(store, settings, state=state, seed=seed)


def test_a_loss_that_is_no_number_is_told(store: ClipStore) -> None:
    spoilt = ClipStore(store.features.copy(), store.speech, store.starts, store.lengths)
    spoilt.features[:] = np.inf
    with (
        np.errstate(all="ignore"),
        pytest.raises(DataError, match="no number at step 1; lower the learning rate"),
    ):
        fit(spoilt, replace(SETTINGS, whiten=0))
    with pytest.raises(DataError, match="no audio to learn from"):
        fit(store, train=np.array([], dtype=np.int64))


def test_batch_normalisation_is_settled_on_whole_audio(store: ClipStore) -> None:
    net = new_network(FRONT, SETTINGS, store, TRAIN, 0)
    front = net.front
    front.stem.norm1.running_mean.fill_(9.0)  # type: ignore[union-attr]
    settings = replace(SETTINGS, settle=20, batch=32)
    settle(front, settings, store, TRAIN, 0)
    features = batch(store, np.random.default_rng(3), TRAIN, settings)
    with torch.no_grad():
        frames, _ = front(torch.from_numpy(features), front.start(len(features)))
    heard = frames.transpose(1, 2).flatten(0, 1)
    assert heard.mean(0).abs().max() < 0.25
    assert (heard.std(0) - 1).abs().max() < 0.25
    assert not any(m.training for m in front.modules())


def test_guesses_are_judged_before_the_front_end_is_settled(store: ClipStore) -> None:
    settled, one = fit(store)
    left, two = fit(store, replace(SETTINGS, settle=0))
    assert one == two
    assert not same(settled, left)


def test_codes_in_use() -> None:
    even = code_use(np.array([[5, 5, 5, 5], [20, 0, 0, 0]]))
    assert even == {"used": pytest.approx(5 / 8), "perplexity": pytest.approx((4 + 1) / 2)}


def test_repeating_the_last_code_is_counted_by_hand() -> None:
    codes = np.array([[1, 2], [1, 3], [1, 2], [4, 2], [4, 2], [4, 2]])
    hidden = np.array([True, False, True, True, False, True])
    # 0 has nothing before it; 2 and 3 have frame 1, 5 has frame 4.
    assert _repeats(codes, hidden) == (1 + 0) + (0 + 0) + (1 + 1)


def test_most_frequent_is_that_of_the_hidden_frames(store: ClipStore) -> None:
    net = new_network(FRONT, SETTINGS, store, TRAIN, 0).eval()
    metrics = held_out_metrics(net, store, VALIDATION, 1)
    found: list[int] = []
    for row in VALIDATION:
        features = torch.from_numpy(store.clip(int(row), 0).features.astype(np.float32))[None]
        codes = net.codes((features - net.front.mean) * net.front.scale)[0, :, 0].numpy()
        rng = np.random.default_rng([1, int(row), 1])
        hidden = hidden_frames(rng, 1, len(codes), 0.1, 3)
        found += codes[hidden[0]].tolist()
    assert metrics["masked"]["frames"] == len(found)
    share = np.bincount(found).max() / len(found)
    assert metrics["masked"]["most_frequent"] == pytest.approx(share)


def test_a_front_end_is_kept_and_read(store: ClipStore, tmp_path: Path) -> None:
    front, _ = fit(store)
    save_front(front, tmp_path / "deep" / "front.safetensors")
    again = load_front(tmp_path / "deep" / "front.safetensors")
    assert again.config == front.config
    assert same(front, again)
    clips = [store.clip(i, 0).features for i in (0, 3)]
    codes = pooled(again, clips)
    assert codes.shape == (2, 16)
    np.testing.assert_array_equal(codes[1:], pooled(front, clips[1:]))


def test_a_spoilt_front_end_is_refused(store: ClipStore, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_front(fit(store)[0], good)
    tensors = load_file(good)
    config = asdict(FRONT)

    def written(changes: dict[str, Any], **weights: torch.Tensor) -> None:
        facts = json.dumps({"version": "1", "config": {**config, **changes}})
        save_file({**tensors, **weights}, bad, {"front": facts})

    written({})
    assert load_front(bad).config == FRONT
    cases: list[Callable[[], object]] = [
        lambda: written({"width": 10**9}),
        lambda: written({"dilations": []}),
        lambda: written({"mels": 60}),
        lambda: written({"depth": 3}),
        lambda: written({"width": 16}),
        lambda: written({}, mean=torch.full((SPECTRAL.size,), torch.nan)),
        lambda: written({}, scale=torch.zeros(SPECTRAL.size)),
        lambda: written({}, more=torch.zeros(3)),
        lambda: save_file(tensors, bad),
        lambda: save_file(tensors, bad, {"front": "[1]"}),
        lambda: bad.write_bytes(good.read_bytes()[:500]),
        lambda: bad.write_bytes(b"no safetensors"),
        lambda: bad.unlink(),
    ]
    for case in cases:
        case()
        with pytest.raises(DataError, match="no weights of a front end") as caught:
            load_front(bad)
        assert "\n" not in str(caught.value)


def test_the_front_ends_sizes_come_from_recipe_and_features() -> None:
    assert front_config(FrontSizes(), SPECTRAL, 0.3) == FrontConfig(width=160, dropout=0.3)
    assert front_config(FrontSizes(dropout=0.0), SPECTRAL).dropout == 0.0
