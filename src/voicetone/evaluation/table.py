"""Tables of predictions: what a model said of each utterance, beside the truth.

Everything in this room is a function of such a table, so that the predictions of any tool can be
judged. Columns and file formats are described in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voicetone.errors import DataError
from voicetone.types import Floats, Utterance

Texts = NDArray[np.str_]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SUM_TOLERANCE = 1e-3
"""How far the sum of a row's probabilities may be from one."""

CAUTIONS = "cautions"
"""The key in `meta` of what a reader of the scores must know, such as what was left out."""


class RowError(DataError):
    """A row that can't be; `row` is its place from 0, `name` its utterance."""

    def __init__(self, problem: str, row: int, name: str) -> None:
        super().__init__(f"row {row + 1} ({name}): {problem}")
        self.problem, self.row, self.name = problem, row, name


class _Rows:
    """What both tables can do. Every array among their fields has a part for each row."""

    id: Texts
    seed: Ints
    speaker: Texts
    groups: Mapping[str, Texts]

    def __len__(self) -> int:
        return len(self.id)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that occur, ascending."""
        return tuple(int(seed) for seed in np.unique(self.seed))

    @property
    def speakers(self) -> tuple[str, ...]:
        """The speakers that occur, sorted; the unknown one is not among them."""
        return tuple(str(name) for name in np.unique(self.speaker) if name)

    def select(self, rows: Bools | Ints) -> Self:
        """Some rows, by a mask `[n]` or by their places."""
        whole = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        picked = {k: v[rows] for k, v in whole.items() if isinstance(v, np.ndarray)}
        groups = {k: v[rows] for k, v in self.groups.items()}
        return replace(self, **picked, groups=groups)  # type: ignore[type-var]

    def by_seed(self) -> list[Self]:
        """One table per seed, ascending."""
        return [self.select(self.seed == seed) for seed in self.seeds]


@dataclass(frozen=True, eq=False)
class PredictionTable(_Rows):
    """One row per utterance and seed: scores over labels, and the true label.

    Whatever is not known is empty text; seeds of one run are rows with the same `id`.

    Args:
        id: names of the utterances `[n]`; unique within a seed.
        truth: true labels `[n]`, all of them in `labels`.
        labels: the columns of `scores`.
        scores: probabilities or, where `probabilities` is False, decision values `[n, labels]`.
        speaker: `[n]`; intervals are over speakers.
        corpus: `[n]`.
        fold: the fold whose test set the utterance was in `[n]`.
        seed: `[n]`, 0 where there is only one.
        predicted: labels `[n]`; by default the one with the highest score.
        probabilities: by default, whether each row of `scores` is non-negative and sums to one.
        groups: named properties of the speaker or utterance (sex, language, ...), each `[n]`.
        audio: paths `[n]`; `#t=1.2,3.4` at the end says which seconds of the file.
        votes: the raters' shares of the labels `[n, labels]`; a row of zeros has none.
        meta: facts about the run: recipe, fold table, label rule, features, model, protocol;
            what stands under `cautions` is told before the scores.

    Raises:
        DataError: columns of different lengths, a label that is not in `labels`, scores that are
            not finite, an utterance that occurs twice within a seed.
    """

    id: Texts
    truth: Texts
    labels: tuple[str, ...]
    scores: Floats
    speaker: Texts = None  # type: ignore[assignment]
    corpus: Texts = None  # type: ignore[assignment]
    fold: Texts = None  # type: ignore[assignment]
    seed: Ints = None  # type: ignore[assignment]
    predicted: Texts = None  # type: ignore[assignment]
    probabilities: bool = None  # type: ignore[assignment]
    groups: Mapping[str, Texts] = field(default_factory=dict)
    audio: Texts = None  # type: ignore[assignment]
    votes: Floats | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = _settle_common(self, ("truth",))
        labels = tuple(str(label) for label in self.labels)
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise DataError("a prediction table needs two or more labels, each of them once")
        _set(self, "labels", labels)
        scores = np.asarray(self.scores, dtype=np.float32)
        if scores.shape != (n, len(labels)):
            raise DataError(
                f"scores have the shape {list(scores.shape)}: "
                f"{n} rows by {len(labels)} labels are wanted"
            )
        if not np.isfinite(scores).all():
            raise _row_error(
                self, np.asarray(~np.isfinite(scores).all(1)), "a score is not a number"
            )
        _set(self, "scores", scores)
        if _is_open(self.probabilities):
            _set(self, "probabilities", _look_like_probabilities(scores))
        elif self.probabilities and n and not _sum_to_one(scores).all():
            raise _row_error(
                self,
                ~_sum_to_one(scores),
                "probabilities are not negative and sum to one: normalise them, or say that they "
                "are decision values",
            )
        if _is_open(self.predicted):
            best = np.asarray(labels)[scores.argmax(1)] if n else np.zeros(0, dtype=np.str_)
            _set(self, "predicted", best)
        else:
            _set(self, "predicted", _texts(self.predicted, "predicted", n))
        for name in ("truth", "predicted"):
            unknown = ~np.isin(getattr(self, name), labels)
            if unknown.any():
                first = str(getattr(self, name)[unknown.argmax()])
                raise _row_error(
                    self,
                    unknown,
                    f"{name} is {first!r}, which is none of the labels {', '.join(labels)}",
                )
        if self.votes is not None:
            _set(self, "votes", _votes(self, np.asarray(self.votes, dtype=np.float32)))

    @cached_property
    def truth_codes(self) -> Ints:
        """`truth` as places in `labels` `[n]`."""
        return _codes(self.truth, self.labels)

    @cached_property
    def predicted_codes(self) -> Ints:
        """`predicted` as places in `labels` `[n]`."""
        return _codes(self.predicted, self.labels)

    def write(self, path: Path) -> None:
        """Write the table as Parquet or CSV, by the path's ending; a file there is replaced.

        Raises:
            DataError: another ending.
            MissingExtraError: Parquet without the extra for it.
        """
        from voicetone.evaluation.table_files import write_predictions

        write_predictions(self, path)


@dataclass(frozen=True, eq=False)
class DimensionTable(_Rows):
    """One row per utterance and seed: arousal, valence, ... as predicted and as rated.

    Args:
        id: names of the utterances `[n]`; unique within a seed.
        dimensions: the columns of `truth` and `predicted`.
        truth: ratings `[n, dimensions]`, NaN where there is none.
        predicted: `[n, dimensions]`.

    The other columns are those of `PredictionTable`, and so are the errors.
    """

    id: Texts
    dimensions: tuple[str, ...]
    truth: Floats
    predicted: Floats
    speaker: Texts = None  # type: ignore[assignment]
    corpus: Texts = None  # type: ignore[assignment]
    fold: Texts = None  # type: ignore[assignment]
    seed: Ints = None  # type: ignore[assignment]
    groups: Mapping[str, Texts] = field(default_factory=dict)
    audio: Texts = None  # type: ignore[assignment]
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = _settle_common(self, ())
        dimensions = tuple(str(name) for name in self.dimensions)
        if not dimensions or len(set(dimensions)) < len(dimensions):
            raise DataError("a table of dimensions needs one or more of them, each once")
        _set(self, "dimensions", dimensions)
        for name in ("truth", "predicted"):
            values = np.asarray(getattr(self, name), dtype=np.float32)
            if values.shape != (n, len(dimensions)):
                raise DataError(
                    f"{name} has the shape {list(values.shape)}: "
                    f"{n} rows by {len(dimensions)} dimensions are wanted"
                )
            _set(self, name, values)
        wrong = np.asarray(~np.isfinite(self.predicted).all(1))
        if wrong.any():
            raise _row_error(self, wrong, "a prediction is not a number")

    def write(self, path: Path) -> None:
        """Write the table as Parquet or CSV, as `PredictionTable.write` does."""
        from voicetone.evaluation.table_files import write_dimensions

        write_dimensions(self, path)


Table = TypeVar("Table", PredictionTable, DimensionTable)


def concatenate(tables: Sequence[PredictionTable]) -> PredictionTable:
    """The rows of several tables, as of the folds and seeds of a run.

    Labels are those of all tables; a label that a table does not have gets the score 0, or for
    decision values the table's least one. Of the facts in `meta`, those in which all agree stay,
    and all cautions.

    Raises:
        DataError: no tables, an utterance twice within a seed, or probabilities beside decision
            values.
    """
    if not tables:
        raise DataError("no prediction tables to put together")
    if len({t.probabilities for t in tables if len(t)}) > 1:
        raise DataError("probabilities and decision values can't be in one table")
    labels = list(dict.fromkeys(label for t in tables for label in t.labels))
    voted = any(t.votes is not None for t in tables)
    return PredictionTable(
        **_joined(tables),
        truth=np.concatenate([t.truth for t in tables]),
        labels=tuple(labels),
        scores=np.concatenate(
            [
                _spread(t.scores, t.labels, labels, 0.0 if t.probabilities else _least(t.scores))
                for t in tables
            ]
        ),
        predicted=np.concatenate([t.predicted for t in tables]),
        probabilities=all(t.probabilities for t in tables if len(t)),
        votes=np.concatenate(
            [_spread(_votes_of(t), t.labels, labels, 0.0) for t in tables],
        )
        if voted
        else None,
    )


def concatenate_dimensions(tables: Sequence[DimensionTable]) -> DimensionTable:
    """The rows of several tables of the same dimensions.

    Raises:
        DataError: no tables, other dimensions, or an utterance twice within a seed.
    """
    if not tables:
        raise DataError("no prediction tables to put together")
    if len({t.dimensions for t in tables}) > 1:
        raise DataError("tables of different dimensions can't be put together")
    return DimensionTable(
        **_joined(tables),
        dimensions=tables[0].dimensions,
        truth=np.concatenate([t.truth for t in tables]),
        predicted=np.concatenate([t.predicted for t in tables]),
    )


def read_predictions(path: Path, truth: Path | None = None) -> PredictionTable:
    """The predictions in a file, or in all files of a folder (a run's `predictions/`).

    Parquet and CSV with the columns of docs/evaluation.md, and the formats of EmoBox and of the
    Odyssey 2024 challenge, whose true labels may stand in a file of their own, `truth`.

    Raises:
        DataError: no such file, or one that is not a table of predictions; the message names
            file and line.
        MissingExtraError: Parquet without the extra for it.
    """
    from voicetone.evaluation.table_files import read_table

    found = read_table(Path(path), truth)
    if isinstance(found, DimensionTable):
        raise DataError(f"{path}: holds dimensions ({', '.join(found.dimensions)}), not labels")
    return found


def read_dimensions(path: Path) -> DimensionTable:
    """The same for a table of dimensions.

    Raises:
        DataError: as `read_predictions` does.
    """
    from voicetone.evaluation.table_files import read_table

    found = read_table(Path(path))
    if isinstance(found, PredictionTable):
        raise DataError(f"{path}: holds labels ({', '.join(found.labels)}), not dimensions")
    return found


def groups_of(utterances: Sequence[Utterance]) -> dict[str, Texts]:
    """What is known of who speaks, for `PredictionTable.groups`; kinds that nobody has are out.

    Returns:
        `[n]` per kind, empty text where it is not known.
    """
    return {
        kind: np.array([str(v) if (v := getattr(u, kind)) is not None else "" for u in utterances])
        for kind in ("sex", "age", "language", "race")
        if any(getattr(u, kind) is not None for u in utterances)
    }


def _set(table: object, name: str, value: object) -> None:
    object.__setattr__(table, name, value)  # the way into a frozen dataclass


def _is_open(value: object) -> bool:
    """Whether a column was left to its default, which its type does not tell of."""
    return value is None


def _texts(values: ArrayLike, name: str, n: int) -> Texts:
    array = np.asarray(values)
    array = array.astype(np.str_) if array.dtype.kind != "U" else array
    if array.shape != (n,):
        raise DataError(f"the column {name} has {array.size} values, the table {n} rows")
    return array


def _settle_common(table: PredictionTable | DimensionTable, texts: tuple[str, ...]) -> int:
    n = len(table.id)
    for name in ("id", *texts):
        _set(table, name, _texts(getattr(table, name), name, n))
    for name in ("speaker", "corpus", "fold", "audio"):
        given = getattr(table, name)
        _set(table, name, np.full(n, "") if given is None else _texts(given, name, n))
    seed = np.zeros(n) if _is_open(table.seed) else np.asarray(table.seed)
    if seed.shape != (n,):
        raise DataError(f"the column seed has {seed.size} values, the table {n} rows")
    _set(table, "seed", seed.astype(np.int64))
    _set(table, "groups", {k: _texts(v, f"group_{k}", n) for k, v in table.groups.items()})
    _set(table, "meta", {str(k): str(v) for k, v in table.meta.items()})
    _check_unique(table)
    return n


def _check_unique(table: PredictionTable | DimensionTable) -> None:
    _, ids = np.unique(table.id, return_inverse=True)
    order = np.lexsort((table.seed, ids))
    same = (np.diff(ids[order]) == 0) & (np.diff(table.seed[order]) == 0)
    if same.any():
        first = int(order[1:][same].min())
        raise RowError(
            f"this utterance is there twice for seed {table.seed[first]}: leave one out, or give "
            "each seed its number",
            first,
            str(table.id[first]),
        )


def _row_error(
    table: PredictionTable | DimensionTable, wrong: NDArray[Any], problem: str
) -> RowError:
    first = int(wrong.argmax())
    return RowError(problem, first, str(table.id[first]))


def _sum_to_one(scores: Floats) -> Bools:
    near = np.abs(scores.sum(1, dtype=np.float64) - 1) <= SUM_TOLERANCE
    return np.asarray(near & (scores >= 0).all(1))


def _look_like_probabilities(scores: Floats) -> bool:
    """Labels alone, written as ones and zeros, say nothing of how sure a model is."""
    return bool(len(scores) and _sum_to_one(scores).all() and not np.isin(scores, (0, 1)).all())


def _votes(table: PredictionTable, votes: Floats) -> Floats:
    if votes.shape != table.scores.shape:
        raise DataError(f"votes have the shape {list(votes.shape)}, scores another")
    wrong = np.asarray(~(np.isfinite(votes) & (votes >= 0)).all(1))
    if wrong.any():
        raise _row_error(table, wrong, "a vote is negative or not a number")
    total = votes.sum(1, keepdims=True)
    return (votes / np.where(total > 0, total, 1)).astype(np.float32)


def _codes(values: Texts, labels: Sequence[str]) -> Ints:
    order = np.argsort(np.asarray(labels))
    return order[np.searchsorted(np.asarray(labels)[order], values)].astype(np.int64)


def _joined(tables: Iterable[PredictionTable | DimensionTable]) -> dict[str, Any]:
    tables = list(tables)
    names = dict.fromkeys(name for t in tables for name in t.groups)
    common: dict[str, Any] = {
        name: np.concatenate([getattr(t, name) for t in tables])
        for name in ("id", "speaker", "corpus", "fold", "seed", "audio")
    }
    groups = {
        name: np.concatenate([t.groups.get(name, np.full(len(t), "")) for t in tables])
        for name in names
    }
    first, *others = tables
    meta = {k: v for k, v in first.meta.items() if all(t.meta.get(k) == v for t in others)}
    cautions = dict.fromkeys(t.meta[CAUTIONS] for t in tables if t.meta.get(CAUTIONS))
    if cautions:
        meta[CAUTIONS] = " ".join(cautions)
    return {**common, "groups": groups, "meta": meta}


def _spread(values: Floats, own: Sequence[str], labels: Sequence[str], empty: float) -> Floats:
    out = np.full((len(values), len(labels)), empty, dtype=np.float32)
    out[:, [labels.index(label) for label in own]] = values
    return out


def _least(scores: Floats) -> float:
    return float(scores.min()) if scores.size else 0.0


def _votes_of(table: PredictionTable) -> Floats:
    return np.zeros_like(table.scores) if table.votes is None else table.votes
