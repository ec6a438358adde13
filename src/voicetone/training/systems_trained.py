"""A trained run of a system, read back: settings, data as they were, and networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from voicetone.corpora.prepared import CORPORA, data_root
from voicetone.errors import DataError, UsageError
from voicetone.training.classifier_data import Material
from voicetone.training.classifier_recipe import CorpusChoice
from voicetone.training.protocol import Fold, FoldTable, read_folds
from voicetone.training.runs import RunFolder
from voicetone.training.systems_data import Sources, sources
from voicetone.training.systems_recipe import SystemsRecipe


class Kept(Protocol):
    """Weights that know which fold and seed they are of."""

    @property
    def fold(self) -> str:
        """Its name."""

    @property
    def seed(self) -> int:
        """Of the training."""


Recipe = TypeVar("Recipe", bound=SystemsRecipe)
Weights = TypeVar("Weights", bound=Kept)


@dataclass(frozen=True)
class TrainedNetwork(Generic[Weights]):
    """The network of one fold."""

    fold: Fold
    path: Path
    checkpoint: Weights


@dataclass(frozen=True)
class OpenedRun(Generic[Recipe, Weights]):
    """One system on one target, with the networks of one seed."""

    path: Path
    name: str
    settings: dict[str, Any]
    """Of `recipe.json`."""
    recipe: Recipe
    """The same, of this system alone, with corpora where they lie here."""
    seed: int
    folds: tuple[str, ...]
    """Names of all folds of the run."""
    networks: tuple[TrainedNetwork[Weights], ...]
    """Of the folds that are looked at, in the order of the folds."""
    found: Sources
    folder: RunFolder

    @property
    def material(self) -> Material:
        """Utterances, labels and folds."""
        return self.found.main


def open_folder(
    path: Path,
    recipe_type: type[Recipe],
    kind: str,
    read: Callable[[Path], Weights],
    *,
    fold: str = "",
    seed: int | None = None,
    data: Sequence[Path] = (),
) -> OpenedRun[Recipe, Weights]:
    """Read a run back and make sure that its data are still what it learnt from.

    Args:
        path: `OUT/TARGET/SYSTEM`.
        recipe_type: of its recipe.
        kind: the recipe's.
        read: reads its weights.
        fold: take only this fold's network.
        seed: whose networks; the lowest that there is if not given.
        data: where corpora lie that `VOICETONE_DATA` does not hold: their folders or manifests, or
            folders that hold them.

    Raises:
        UsageError: a fold or seed that the run does not have.
        DataError: no such run, no weights in it, or corpora that are gone or have changed.
    """
    settings = settings_of(path, (kind,))
    table = read_folds(path / "folds.json")
    folder = RunFolder(path, settings, table)
    networks = tuple(
        TrainedNetwork(f, p, read(p)) for f, p in _weights(folder, table, fold, seed).items()
    )
    for network in networks:
        kept = int(network.path.stem.rpartition("-")[2])
        require_place(network.checkpoint, network.path, network.fold.name, kept)
    recipe = _recipe(settings, path, data, recipe_type)
    found = sources(recipe, recipe.targets)
    if found.main.table.folds != table.folds:
        raise changed(path)
    return OpenedRun(
        path=path,
        name=f"{settings['name']}/{settings['target']['name']}/{settings['system']['name']}",
        settings=settings,
        recipe=recipe,
        seed=networks[0].checkpoint.seed,
        folds=tuple(f.name for f in table.folds),
        networks=networks,
        found=found,
        folder=folder,
    )


def settings_of(path: Path, kinds: Sequence[str]) -> dict[str, Any]:
    """`recipe.json`, if this is the folder of a system of one of these kinds.

    Raises:
        DataError: it is not.
    """
    told = path / "recipe.json"
    try:
        settings = json.loads(told.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    if isinstance(settings, dict) and settings.get("kind") in kinds and "system" in settings:
        return settings
    below = sorted(p.parent for k in ("*", "*/*") for p in path.glob(f"{k}/recipe.json"))
    hint = f"name one of its systems, such as {below[0]}" if below else "name OUT/TARGET/SYSTEM"
    wanted = " or ".join(f'"{kind}"' for kind in kinds)
    raise DataError(f"{path}: no system's folder of a run of kind = {wanted}; {hint}")


def _weights(
    folder: RunFolder, table: FoldTable, wanted: str, seed: int | None
) -> dict[Fold, Path]:
    """Those of one seed, of all folds or of the one that is wanted by its name or its files'."""
    kept = sorted((folder.path / "checkpoints").glob("*.safetensors"))
    seeds = sorted({int(s) for p in kept if (s := p.stem.rpartition("-")[2]).isdecimal()})
    if not seeds and folder.told.get("kind") == "gmm-aae" and not _trains(folder.told):
        raise DataError(
            f"{folder.path}: a system that trains no network of its own; name another of its recipe"
        )
    if not seeds:
        raise DataError(
            f"{folder.path}: no weights in its checkpoints; a recipe keeps them with checkpoints = "
            '"first" (of the first seed) or "all", and a joint network\'s lie with its first target'
        )
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        there = ", ".join(map(str, seeds))
        raise UsageError(f"--seed {seed}: there are weights of these seeds: {there}")
    paths = {f: folder.part("checkpoints", f.name, seed, "safetensors") for f in table.folds}
    chosen = {f: p for f, p in paths.items() if wanted in ("", f.name, p.stem.rpartition("-")[0])}
    found = {f: p for f, p in chosen.items() if p.is_file()}
    if not found:
        names = ", ".join(f.name for f, p in paths.items() if p.is_file())
        raise UsageError(f"--fold {wanted}: there are weights of these folds: {names}")
    return found


def _trains(settings: Mapping[str, Any]) -> bool:
    """Whether a system of codes has a network."""
    system = settings["system"]
    return not system["weights"] and system["codes"] in ("gmm-aae", "autoencoder")


def _recipe(
    settings: dict[str, Any], path: Path, data: Sequence[Path], kind: type[Recipe]
) -> Recipe:
    """The recipe of this system alone, its corpora where they lie on this machine."""
    kept = ("kind", "name", "corpora", "protocol")
    told = {key: settings[key] for key in kept}
    told |= {"systems": [settings["system"]], "targets": [settings["target"]]}
    recipe = TypeAdapter(kind).validate_python(told)
    protocol = recipe.protocol
    if protocol.name == "table":
        protocol = replace(protocol, file=str(path / "folds.json"))
    corpora = tuple(placed(choice, data) for choice in recipe.corpora)
    return replace(recipe, corpora=corpora, protocol=protocol)


def require_place(checkpoint: Kept, path: Path, fold: str, seed: int) -> None:
    """Make sure that weights are of the fold and seed that their place says.

    Raises:
        DataError: they are of another, whose training may have heard who is tested here.
    """
    if (checkpoint.fold, checkpoint.seed) != (fold, seed):
        raise DataError(
            f"{path}: weights of fold {checkpoint.fold}, seed {checkpoint.seed}, in the place of "
            f"fold {fold}, seed {seed}; train again"
        )


def placed(choice: CorpusChoice, data: Sequence[Path]) -> CorpusChoice:
    """A corpus by its path: a run keeps the last part only.

    Raises:
        DataError: it is not there.
    """
    for place in data:
        for path in (place, place / choice.name):
            if path.exists() and path.resolve().name == choice.name:
                licence = choice.licence or getattr(CORPORA.get(choice.name), "licence", "")
                return replace(choice, name=str(path.resolve()), licence=licence)
    if choice.name in CORPORA:
        return choice
    try:
        path = data_root() / choice.name
    except DataError:
        path = Path(choice.name)
    if not path.exists():
        raise DataError(
            f"{choice.name}: the run's corpus is not below VOICETONE_DATA; say where it lies with "
            "--data"
        )
    return replace(choice, name=str(path))


def changed(path: Path) -> DataError:
    """That a run's corpora are not what they were."""
    return DataError(
        f"{path}: its corpora have other utterances, labels or folds now than when it was trained; "
        "point --data at those it learnt from, or train again"
    )
