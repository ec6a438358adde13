"""Checks of a recipe of codes against its data, before anything is trained."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from voicetone.errors import DataError
from voicetone.features.sets import extractor
from voicetone.training.gmm_recipe import CodesRecipe, CodeSystem
from voicetone.training.protocol import read_folds
from voicetone.training.replica_checkpoint import read_codes_checkpoint
from voicetone.training.systems_data import Sources, feature_config
from voicetone.training.systems_trained import settings_of

FEWEST = 10
"""Training utterances of a class: a component can't be matched with fewer."""


def require(recipe: CodesRecipe, found: Sources, system: CodeSystem) -> None:
    """Check a system against its data, which are in order for every system; see `run_systems`."""
    material = found.main
    if system.features.frames:
        raise DataError(f"{system.name}: codes are of whole utterances; take frames = 0")
    if any(not len(fold.validation) for fold in material.table.folds):
        raise DataError(
            f"{system.name}: nobody validates in this protocol, and the classifier on codes is "
            "chosen on validation speakers: give validation speakers"
        )
    if system.stretch and system.codes != "gmm-aae":
        raise DataError(f'{system.name}: stretch is for codes = "gmm-aae"; leave it out')
    if system.codes == "gmm-aae":
        for size in system.sizes:
            system.config(1, len(material.labels), size).mixture.require_room()
    if system.codes in ("lda", "pca"):
        _require_dimensions(found, system)
    if system.codes in ("gmm-aae", "lda"):
        for fold in material.table.folds:
            count = Counter(material.truth[material.rows(fold.train)].tolist())
            place, least = min(count.items(), key=lambda item: item[1])
            if least * system.labelled < FEWEST:
                used = "" if system.labelled == 1 else f", {system.labelled:g} of them with labels"
                raise DataError(
                    f"fold {fold.name}: {least} training utterances of "
                    f"{material.labels[place]}{used}: fewer than {FEWEST} can't be matched with a "
                    "component; leave the class out with labels = [...], or raise labelled"
                )
    if system.synthetic is not None:
        _require_maker(recipe, system)
    if system.weights:
        _require_strangers(recipe, found, system)


def _require_dimensions(found: Sources, system: CodeSystem) -> None:
    """That LDA and PCA have as many dimensions as are wanted."""
    material, size = found.main, max(system.sizes)
    if system.codes == "lda":
        classes = len(material.labels)
        if size >= classes:
            raise DataError(
                f"{system.name}: LDA of {classes} classes has {classes - 1} dimensions; lower size"
            )
        return
    features = len(extractor(feature_config(system.features)).names)
    trained = min(len(fold.train) for fold in material.table.folds)
    if size > min(features, trained):
        raise DataError(
            f"{system.name}: {trained} training utterances of {features} features have no {size} "
            "principal components; lower size"
        )


def _require_maker(recipe: CodesRecipe, system: CodeSystem) -> None:
    assert system.synthetic is not None
    before = recipe.systems[: recipe.systems.index(system)]
    maker = next((s for s in before if s.name == system.synthetic.of), None)
    if (
        maker is None
        or maker.codes != "gmm-aae"
        or maker.weights
        or maker.features != system.features
    ):
        raise DataError(
            f"{system.name}: synthetic.of = {system.synthetic.of!r} has to be an earlier system "
            'with codes = "gmm-aae" and the same features'
        )
    if maker.labelled != system.labelled:
        raise DataError(
            f"{system.name}: {maker.name} has learnt from {maker.labelled:g} of the labels, and "
            f"{system.name} from {system.labelled:g}: give both the same labelled"
        )
    if maker.unlabelled != system.unlabelled:
        raise DataError(
            f"{system.name}: {maker.name} normalises with the unlabelled corpora or without them, "
            f"{system.name} the other way: give both the same unlabelled"
        )
    if system.synthetic.per_class == "balanced" and not system.synthetic.real:
        raise DataError(
            f'{system.name}: per_class = "balanced" fills up real utterances; give a number, or '
            "real = true"
        )
    if system.codes != "raw":
        raise DataError(
            f'{system.name}: synthetic samples are features: take codes = "raw" with them'
        )


def weights_path(system: CodeSystem, seed: int) -> Path:
    """Weights of the one fold of another run.

    Raises:
        DataError: none of this seed, or of several folds.
    """
    found = sorted((Path(system.weights) / "checkpoints").glob(f"*-{seed}.safetensors"))
    if len(found) != 1:
        raise DataError(
            f"{system.weights}: {len(found)} networks of seed {seed}; weights names "
            'OUT/TARGET/SYSTEM of a run with one fold and checkpoints = "all"; train it first'
        )
    return found[0]


def _require_strangers(recipe: CodesRecipe, found: Sources, system: CodeSystem) -> None:
    """That the network of another run fits, and was trained on nobody who is heard here.

    Raises:
        DataError: it doesn't, or it was.
    """
    if system.codes != "gmm-aae":
        raise DataError(f'{system.name}: weights make codes of codes = "gmm-aae" only')
    learnt = {
        key
        for fold in read_folds(Path(system.weights) / "folds.json").folds
        for key in (*fold.train, *fold.validation)
    }
    known = [u.id for u in found.main.utterances if u.id in learnt]
    if known:
        raise DataError(
            f"{system.name}: the network of {system.weights} has learnt from {known[0]}, which is "
            "tested in some fold; take weights of other corpora"
        )
    told = settings_of(Path(system.weights), ("gmm-aae",))
    heard = {str(part["name"]) for part in told.get("unlabelled", ())}
    here = {Path(choice.name).name for choice in recipe.corpora}
    if heard & here:
        raise DataError(
            f"{system.name}: the network of {system.weights} has learnt from "
            f"{sorted(heard & here)[0]}, without its labels; take weights of other corpora"
        )
    for seed in recipe.seeds:
        checkpoint = read_codes_checkpoint(weights_path(system, seed))
        if checkpoint.labels != (found.main.labels,) or checkpoint.features != system.features:
            raise DataError(
                f"{system.weights}: a network for {', '.join(checkpoint.labels[0])} on "
                f"{checkpoint.features.name}, {checkpoint.features.normalise}; {system.name} has "
                f"{', '.join(found.main.labels)} on {system.features.name}, "
                f"{system.features.normalise}: choose the same"
            )
