"""Figures of the code plane: what they draw, and what they refuse."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from PIL import Image

from voicetone.errors import DataError
from voicetone.models.gmm_aae import Mixture
from voicetone.training import aae_figures, gmm_figures
from voicetone.training.aae_figures import draw_curves
from voicetone.training.gmm_figures import animate, draw_plane, mean_distance, panels

NAMES = ("anger", "happiness", "sadness", "neutral", "fear", "disgust", "surprise", "boredom")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures, as they are before they are saved."""
    kept: list[Figure] = []
    save = aae_figures.save

    def keep(figure: Figure, folder: Path, name: str) -> Any:
        kept.append(figure)
        return save(figure, folder, name)

    monkeypatch.setattr(aae_figures, "save", keep)
    return kept


def toy(classes: int, n: int = 60, size: int = 2) -> dict[str, Any]:
    """Arguments of `draw_plane`; the last code has no label, every third speaker is a stranger."""
    mixture = Mixture(classes, size, radius=14.0)
    truth = np.arange(n) % classes
    codes = mixture.sample(truth, [7]).astype(np.float32)
    labels = [NAMES[t] for t in truth]
    labels[-1] = ""
    known = np.arange(n) % 3 > 0
    return {
        "codes": codes,
        "labels": labels,
        "known": known,
        "mixture": mixture,
        "names": NAMES[:classes],
    }


def points(axes: Axes, label: str) -> np.ndarray:
    (found,) = (c for c in axes.collections if c.get_label() == label)
    return np.asarray(found.get_offsets())


def rings(axes: Axes) -> np.ndarray:
    empty = [c for c in axes.collections if len(c.get_facecolor()) == 0]
    return np.concatenate([np.asarray(c.get_offsets()) for c in empty])


def outlines(axes: Axes) -> list[Ellipse]:
    return [p for p in axes.patches if isinstance(p, Ellipse) and p.get_edgecolor()[3] == 1]


@pytest.mark.parametrize("classes", [4, 6, 8])
def test_codes_lie_where_they_are(tmp_path: Path, drawn: list[Figure], classes: int) -> None:
    given = toy(classes)
    files = draw_plane(**given, folder=tmp_path, title="fold a")
    assert files == [tmp_path / "plane.png", tmp_path / "plane.pdf"]
    with Image.open(files[0]) as image:
        assert image.width == 1840
        assert 700 < image.height < 1300
    left, right = drawn[0].axes
    labels = np.array(given["labels"])
    for name in given["names"]:
        np.testing.assert_array_equal(points(left, name), given["codes"][labels == name])
        assert len(points(right, name)) == int((labels == name).sum())
    np.testing.assert_array_equal(points(left, gmm_figures._NOWHERE), given["codes"][-1:])
    strangers = given["codes"][~given["known"] & (labels != "")]
    assert sorted(rings(left).tolist()) == sorted(strangers.astype(float).tolist())
    assert len(rings(right)) == 0
    assert left.get_xlim() == right.get_xlim()
    assert left.get_aspect() == right.get_aspect() == 1
    assert "ringed" in drawn[0].get_suptitle()


def test_samples_are_of_their_component(tmp_path: Path, drawn: list[Figure]) -> None:
    given = toy(4, 2000)
    draw_plane(**given, folder=tmp_path, title="fold a")
    for place, name in enumerate(given["names"]):
        found = points(drawn[0].axes[1], name)
        np.testing.assert_allclose(found.mean(0), given["mixture"].means[place], atol=0.5)
        wanted = given["mixture"].covariances[place]
        np.testing.assert_allclose(np.cov(found.T), wanted, atol=1.5)
        assert not np.array_equal(found, points(drawn[0].axes[0], name))


def test_ellipses_are_one_and_two_sd(tmp_path: Path, drawn: list[Figure]) -> None:
    given = toy(6, size=3)
    draw_plane(**given, folder=tmp_path, title="fold a")
    for axes in drawn[0].axes:
        found = outlines(axes)
        assert len(found) == 12
        for place in range(6):
            one, two = found[2 * place : 2 * place + 2]
            assert one.center == two.center == tuple(given["mixture"].means[place, :2])
            assert (one.width, one.height) == pytest.approx((6, 1.4))  # SDs of 3 and 0.7
            assert (two.width, two.height) == pytest.approx((12, 2.8))
            turned = (two.angle - 60 * place) % 180
            assert min(turned, 180 - turned) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("classes", [4, 6, 8])
def test_words_neither_meet_nor_leave_the_panel(
    tmp_path: Path, drawn: list[Figure], classes: int
) -> None:
    draw_plane(**toy(classes), folder=tmp_path, title="fold a")
    figure = drawn[0]
    figure.draw_without_rendering()
    for axes in figure.axes:
        frame = axes.get_window_extent()
        shown = [t for t in axes.texts if t.get_text() in NAMES]
        assert [t.get_text() for t in shown] == list(NAMES[:classes])
        boxes = [t.get_window_extent() for t in shown]
        for box in boxes:
            assert frame.x0 <= box.x0 < box.x1 <= frame.x1
            assert frame.y0 <= box.y0 < box.y1 <= frame.y1
        for place, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:place])
            ends = [e.get_window_extent() for e in outlines(axes)]
            assert not any(box.overlaps(end) for end in ends)
    titles = [axes.title.get_window_extent().y1 for axes in figure.axes]
    assert max(titles) <= figure._suptitle.get_window_extent().y0
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width
    assert legend.y1 <= min(axes.xaxis.label.get_window_extent().y0 for axes in figure.axes)


def test_classes_differ_in_look() -> None:
    looks = [gmm_figures._look(place) for place in range(8)]
    assert len({to_rgb(colour) for colour, _ in looks}) == 8
    assert all(a[1] != b[1] for a, b in pairwise(looks))
    assert len({gmm_figures._look(place) for place in range(40)}) == 40


def test_nobody_is_a_stranger(tmp_path: Path, drawn: list[Figure]) -> None:
    given = toy(4) | {"known": np.ones(60, bool)}
    draw_plane(**given, folder=tmp_path, title="fold a")
    assert "ringed" not in drawn[0].get_suptitle()
    assert len(rings(drawn[0].axes[0])) == 0


def test_a_stray_code_does_not_shrink_the_rest(tmp_path: Path, drawn: list[Figure]) -> None:
    given = toy(4, 400)
    draw_plane(**given, folder=tmp_path / "whole", title="fold a")
    given["codes"][0] = [9000, 0]
    draw_plane(**given, folder=tmp_path, title="fold a")
    assert drawn[0].axes[0].get_xlim() == pytest.approx(drawn[1].axes[0].get_xlim(), rel=0.1)
    assert "1 outside" in [t.get_text() for t in drawn[1].axes[0].texts]
    assert not any("outside" in t.get_text() for t in drawn[0].axes[0].texts)


def test_codes_far_from_the_mixture_are_seen(tmp_path: Path, drawn: list[Figure]) -> None:
    given = toy(4)
    given["codes"] *= 40  # as without an adversary
    draw_plane(**given, folder=tmp_path, title="fold a")
    inside = np.abs(given["codes"][:, 0]) < drawn[0].axes[0].get_xlim()[1]
    assert inside.mean() > 0.95


def test_one_dimension_is_a_strip(tmp_path: Path, drawn: list[Figure]) -> None:
    given = toy(2, size=1)
    draw_plane(**given, folder=tmp_path, title="fold a")
    left = drawn[0].axes[0]
    assert [t.get_text() for t in left.get_yticklabels()] == ["anger", "happiness"]
    labels = np.array(given["labels"])
    for row, name in enumerate(("anger", "happiness")):
        found = points(left, name)
        np.testing.assert_array_equal(found[:, 0], given["codes"][labels == name, 0])
        assert np.abs(found[:, 1] + row).max() <= 0.25
    assert [(e.center[0], e.width) for e in outlines(left)] == [
        (14, 6),
        (14, 12),
        (-14, 6),
        (-14, 12),
    ]


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    def refused(match: str, **changed: Any) -> None:
        with pytest.raises(DataError, match=match):
            draw_plane(**(toy(4) | changed), folder=tmp_path / "no", title="fold a")

    codes = toy(4)["codes"].copy()
    codes[3, 1] = np.nan
    refused("1 of 60 codes are not finite", codes=codes)
    refused("can't be drawn on a mixture of 2 dimensions", codes=np.zeros((60, 3)))
    refused("can't be drawn on a mixture", codes=np.zeros((0, 2)), labels=[], known=np.zeros(0))
    refused("60 codes, 59 labels", labels=toy(4)["labels"][1:])
    refused("3 names for a mixture of 4 components", names=NAMES[:3])
    assert not (tmp_path / "no").exists()


def moving(steps: int, n: int = 40) -> dict[str, Any]:
    """Arguments of `animate`: codes go from the middle to their places."""
    mixture = Mixture(4)
    truth = np.arange(n, dtype=np.int64) % 4
    last = mixture.sample(truth, [7]).astype(np.float32)
    part = np.linspace(0, 1, steps, dtype=np.float32)[:, None, None]
    return {
        "epochs": list(range(10, 10 * steps + 1, 10)),
        "codes": last * part,
        "truth": truth,
        "labels": NAMES[:4],
        "known": truth < 9,
        "mixture": mixture,
    }


def test_the_plane_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []
    paint = gmm_figures._Plane.paint

    def watch(plane: Any, axes: Axes, codes: np.ndarray, *rest: Any) -> None:
        paint(plane, axes, codes, *rest)
        box = axes.get_position().bounds
        seen.append((axes.get_title(), axes.get_xlim(), axes.get_ylim(), box, codes))

    monkeypatch.setattr(gmm_figures._Plane, "paint", watch)
    given = moving(3)
    path = animate(**given, folder=tmp_path, title="fold a")
    assert path == tmp_path / "plane.gif"
    assert [p.name for p in tmp_path.iterdir()] == ["plane.gif"]
    frames = seen[1:]  # the first is what the layout is made for
    assert [f[0] for f in frames[:3]] == ["epoch 10", "epoch 20", "epoch 30"]
    assert {f[0] for f in frames[3:]} == {"epoch 30"}
    assert len({f[1:4] for f in frames}) == 1  # nothing but the points moves
    np.testing.assert_array_equal(frames[1][4], given["codes"][1])
    with Image.open(path) as image:
        assert image.n_frames == 3
        assert 500 <= image.width <= 900
        lasting = []
        for frame in range(3):
            image.seek(frame)
            lasting.append(image.info["duration"])
    assert lasting[0] == lasting[1] < 200
    assert 1800 < lasting[2] < 2200


def test_many_epochs_become_few_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gmm_figures, "_FRAMES", 4)
    path = animate(**moving(9, 8), folder=tmp_path, title="fold a")
    with Image.open(path) as image:
        assert image.n_frames == 4


def test_one_epoch_stands_still(tmp_path: Path) -> None:
    given = moving(2) | {"epochs": [5], "codes": moving(2)["codes"][1:]}
    with Image.open(animate(**given, folder=tmp_path, title="fold a")) as image:
        assert image.n_frames == 1


def test_what_cannot_move(tmp_path: Path) -> None:
    given = moving(3)
    for changed, match in (
        ({"epochs": [1, 2]}, "2 epochs for codes of shape"),
        ({"epochs": [], "codes": given["codes"][:0]}, "0 epochs for codes"),
        ({"codes": given["codes"][0]}, "an animation needs codes"),
        ({"codes": given["codes"] * np.nan}, "120 of 120 codes are not finite"),
        ({"truth": given["truth"][:-1]}, "don't fit together"),
        ({"truth": given["truth"] + 1}, "give each component its class's name"),
    ):
        with pytest.raises(DataError, match=match):
            animate(**(given | changed), folder=tmp_path, title="fold a")
    assert list(tmp_path.iterdir()) == []


def test_curves_with_expected_levels(tmp_path: Path, drawn: list[Figure]) -> None:
    names = [name for panel in panels(Mixture(4)) for name, _ in panel.lines]
    (tmp_path / "curves").mkdir()
    for replica, values in enumerate(([1.0, 0.5, 0.3], [2.0, 0.7, 0.5])):
        told = {"epoch": 3, **dict.fromkeys(names, values)}
        (tmp_path / "curves" / f"{replica}.json").write_text(json.dumps(told))
    files = draw_curves(tmp_path, tmp_path / "out", panels(Mixture(4)))
    assert files == [tmp_path / "out" / "curves.png", tmp_path / "out" / "curves.pdf"]
    levels = {
        axes.get_title(): [
            line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() != "-"
        ]
        for axes in drawn[0].axes
    }
    assert levels == {
        "adversarial": [math.log(2), 0.68, 0.75],
        "reconstruction": [0.92, 1.08],
        "validation: likeliest component": [0.25],
        "validation: distance from the middle": [mean_distance(Mixture(4))],
    }
    adversarial = drawn[0].axes[0].get_lines()[0]
    np.testing.assert_allclose(adversarial.get_ydata(), [1.5, 0.6, 0.4])


def test_curves_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "0.json").write_text(json.dumps({"epoch": 1, "uar": [0.5]}))
    with pytest.raises(DataError, match="no training curves here"):
        draw_curves(tmp_path, None, panels(Mixture(4)))


def test_mean_distance_of_a_mixture() -> None:
    narrow = Mixture(4, radius=9, radial=0.01, tangential=0.01)
    assert mean_distance(narrow) == pytest.approx(9, abs=0.001)
    # Of a component of one dimension that seldom crosses the middle: |N(9, 3)|.
    folded = 3 * math.sqrt(2 / math.pi) * math.exp(-4.5) + 9 * math.erf(3 / math.sqrt(2))
    assert mean_distance(Mixture(2, 1)) == pytest.approx(folded, abs=0.07)
