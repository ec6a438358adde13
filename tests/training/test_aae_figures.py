"""Figures of autoencoders: what they draw, and that they can be read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from voicetone.errors import DataError
from voicetone.models.aae import CHANCE
from voicetone.training import aae_figures
from voicetone.training.aae_figures import draw_codes, draw_curves

KEYS = (
    "reconstruction",
    "discriminator_y",
    "discriminator_z",
    "classification",
    "uar",
    "validation_loss",
    "y_entropy",
    "z_sd",
    "validation_reconstruction",
)


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


def curves(run: Path, keys: tuple[str, ...] = KEYS) -> Path:
    (run / "curves").mkdir()
    for replica, values in enumerate(([1.0, 0.5, 0.3], [2.0, 0.7, None])):
        told = {"epoch": 2, **dict.fromkeys(keys, values)}
        (run / "curves" / f"f-{replica}.json").write_text(json.dumps(told))
    return run


def test_curves_are_mean_and_range(tmp_path: Path, drawn: list[Figure]) -> None:
    files = draw_curves(curves(tmp_path))
    assert files == [tmp_path / "curves.png", tmp_path / "curves.pdf"]
    panels = {axes.get_title(): axes for axes in drawn[0].axes}
    assert next(iter(panels)) == "discriminators"
    assert len(panels) == 6
    lines = {line.get_label(): line for line in panels["discriminators"].get_lines()}
    assert lines["of z"].get_ydata().tolist() == [1.5, 0.6, 0.3]
    assert set(lines["ln 2: can't tell"].get_ydata()) == {CHANCE} == {math.log(2)}
    assert panels["SD of z"].get_lines()[-1].get_ydata()[0] == 1
    band = panels["validation UAR"].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.3, 2.0)
    for axes in panels.values():
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_curves_of_a_baseline(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_curves(curves(tmp_path, ("classification", "uar", "validation_loss")), tmp_path / "out")
    titles = [axes.get_title() for axes in drawn[0].axes if axes.get_visible()]
    assert titles == ["classification", "validation UAR"]
    assert (tmp_path / "out" / "curves.png").exists()


def test_no_curves(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training curves here"):
        draw_curves(tmp_path)


def codes(classes: int, speakers: int) -> tuple[np.ndarray, list[str], list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    labels = [f"e{i % classes}" for i in range(240)]
    z = rng.standard_normal((240, 5)).astype(np.float32)
    z[:, 0] += 3 * np.arange(240) % classes
    return z, labels, [f"s{i % speakers}" for i in range(240)], np.arange(240) % speakers > 1


def test_codes_by_emotion_and_speaker(tmp_path: Path, drawn: list[Figure]) -> None:
    z, labels, speakers, known = codes(4, 16)
    files = draw_codes(z, [("emotion", labels), ("speaker", speakers)], known, tmp_path, "title")
    assert [p.name for p in files] == ["z-pca.png", "z-pca.pdf", "z-lda.png", "z-lda.pdf"]
    left, right = drawn[0].axes
    assert [t.get_text() for t in left.get_legend().get_texts()] == ["e0", "e1", "e2", "e3"]
    looks = [
        (tuple(c.get_facecolor()[0]), len(c.get_paths()[0].vertices))
        for c in right.collections[::2]
    ]
    assert len(looks) == len(set(looks)) == 16  # colour and shape tell all of them apart
    rings = [c for c in right.collections if len(c.get_facecolor()) == 0]
    assert sum(len(c.get_offsets()) for c in rings) == int((~known).sum())
    width = drawn[0].get_window_extent().width
    for axes in (left, right):
        box = axes.get_legend().get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width


def test_two_classes_have_no_second_discriminant(tmp_path: Path) -> None:
    z, labels, speakers, known = codes(2, 4)
    files = draw_codes(z, [("emotion", labels), ("speaker", speakers)], known, tmp_path, "title")
    assert {p.stem for p in files} == {"z-pca"}


def test_a_crowd_is_drawn_in_grey(tmp_path: Path, drawn: list[Figure]) -> None:
    z, labels, speakers, known = codes(3, 60)
    draw_codes(z, [("emotion", labels), ("speaker", speakers)], known, tmp_path, "title")
    texts = [t.get_text() for t in drawn[0].axes[1].get_legend().get_texts()]
    assert "26 others" in texts
    assert len(texts) == 35


def test_collapsed_codes_are_not_drawn(tmp_path: Path) -> None:
    z, labels, speakers, known = codes(3, 4)
    columns = [("emotion", labels), ("speaker", speakers)]
    assert draw_codes(np.zeros_like(z), columns, known, tmp_path, "title") == []
