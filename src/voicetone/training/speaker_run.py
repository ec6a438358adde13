"""A run of speaker-aware transformers: folds and seeds of a system side by side, in processes."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voicetone.errors import DataError
from voicetone.evaluation.significance import seed_scores
from voicetone.evaluation.table import PredictionTable, concatenate, read_predictions
from voicetone.features.workers import ProgressLines, cores, worker_pool
from voicetone.training.device import device_of_choice
from voicetone.training.replica_data import Job, Rows, Scaling
from voicetone.training.replica_fit import Kept, threads
from voicetone.training.runs import RunFolder
from voicetone.training.speaker_checkpoint import write_speaker_checkpoint
from voicetone.training.speaker_curve import points
from voicetone.training.speaker_fit import Frames, Outcome, Trial
from voicetone.training.speaker_fit import fit as fit
from voicetone.training.speaker_recipe import SpeakerRecipe, SpeakerSystem
from voicetone.training.speaker_voices import Enroller
from voicetone.training.systems_data import Sources
from voicetone.training.systems_recipe import SystemsRecipe
from voicetone.training.systems_run import Work, last_epochs, refuse_diverged, run_systems
from voicetone.training.written import whole
from voicetone.types import Utterance

LAST = 0.9  # of the epochs: who is best after that might have gone on
_FRAME = 0.01  # seconds
_POLL = 1.0  # seconds


def run_speakers(recipe: SpeakerRecipe) -> Path:
    """Train and score every system on every target; see `run_systems`.

    Raises:
        DataError: as `run_systems`; a speaker that has to be known and is not; an encoder that is
            not ready.
    """
    return run_systems(recipe, SpeakerMethod(recipe))


class SpeakerMethod:
    """See `voicetone.training.systems_run.Method`."""

    def __init__(self, recipe: SpeakerRecipe) -> None:
        self.recipe = recipe
        self.enroller = Enroller(recipe.speaker)
        self.validated = True

    def require(self, recipe: SpeakerRecipe, found: Sources, system: SpeakerSystem) -> None:
        """Frames, speakers and sessions where they are needed, and sizes that can be.

        Raises:
            DataError: none of these.
        """
        del recipe
        _require(found, system)
        self.validated = all(fold.validation for fold in found.main.table.folds)

    def words(self, system: SpeakerSystem) -> str:
        """As in `prefix (integration=prefix; ...)`."""
        return words(self.recipe, system)

    def selection(self, system: SpeakerSystem) -> str:
        """Who chose the epoch."""
        del system
        return "epoch chosen on validation speakers" if self.validated else "none: the last epoch"

    def train(self, work: Work) -> None:
        """Train, and keep what each fold and seed gave as soon as it is there."""
        if any(system.needs_encoder for system in self.recipe.systems):
            self._hear(work)
        jobs = work.jobs
        frames = _frames(work)
        trials = [self.trial(work, job) for job in jobs]
        report, total = ProgressLines(f"{work.name}: steps"), sum(t.total for t in trials)
        outcomes: dict[int, Outcome] = {}

        def done(index: int, outcome: Outcome) -> None:
            outcomes[index] = outcome
            self.keep(work, trials[index], outcome)

        count = min(work.recipe.jobs or cores(), len(trials))
        device = device_of_choice()
        if count == 1 or device.type == "cuda":
            _one_by_one(frames, trials, device, done, lambda steps: report(steps, total))
        else:
            _side_by_side(frames, trials, count, done, lambda steps: report(steps, total))
        kept = [_kept(work, trials[i], outcomes[i]) for i in range(len(jobs))]
        refuse_diverged(work, jobs, kept)

    def trial(self, work: Work, job: Job) -> Trial:
        """All that one training needs."""
        return trial_of(work, job, self.enroller)

    def keep(self, work: Work, trial: Trial, outcome: Outcome) -> None:
        """Write what a training gave, predictions last; of a diverged one the weights only."""
        if work.wants_checkpoint(trial.job) or outcome.diverged:
            self.checkpoint(work, trial, outcome)
        work.write_curves(trial.job, _kept(work, trial, outcome))
        if outcome.scores is not None:
            _keep_tables(work, trial, outcome)

    def checkpoint(self, work: Work, trial: Trial, outcome: Outcome) -> None:
        """Write the weights."""
        job, system = trial.job, trial.system
        write_speaker_checkpoint(
            work.file(job, "checkpoints", "safetensors"),
            state_of(work, trial, outcome),
            config=trial.config,
            labels=work.part(job).found.main.labels,
            features=system.features,
            encoder=self.enroller.encoder.id if system.needs_encoder else "",
            fold=work.fold(job),
            seed=job.seed,
        )

    def _hear(self, work: Work) -> None:
        """Embeddings of everybody, before anything is trained; who has none is told."""
        heard = self.enroller.voices(work.loaded.utterances)
        if not work.system.needs_encoder:
            return
        for part in work.parts:
            folder = part.folders[0]
            folder.log(f"{folder.path}: {_unheard(part.found.main.utterances, heard.failures)}")
            for job in work.jobs:
                if work.part(job) is not part:
                    continue
                alone = _alone(work, job, self.enroller)
                if alone:
                    folder.log(
                        f"{folder.path}: fold {work.fold(job)}, seed {job.seed}: "
                        f"{len(alone)} utterances whose speaker has no other there have no "
                        f"embedding, such as {alone[0]}"
                    )

    def convergence(
        self, recipe: SystemsRecipe, system: SpeakerSystem, folder: RunFolder
    ) -> dict[str, Any]:
        """See `convergence`."""
        lengths = self.recipe.speaker.curve if system.has_curve else ()
        return convergence(folder, recipe.seeds, system, lengths)

    def baseline(self, recipe: SpeakerRecipe, system: SpeakerSystem) -> SpeakerSystem | None:
        """See `baseline_of`."""
        return baseline_of(recipe, system)


def baseline_of(recipe: SpeakerRecipe, system: SpeakerSystem) -> SpeakerSystem | None:
    """What a system is to be better than: the first that hears the same and knows no speaker."""
    wanted = replace(system.features, normalise="global")
    for other in recipe.systems:
        plain = other.integration == "none" and other.control == "none"
        if plain and other.features == wanted and other.context == system.context:
            return None if other == system else other
    return None


def words(recipe: SpeakerRecipe, system: SpeakerSystem) -> str:
    """A system and what makes it."""
    said = [f"integration={system.integration}"]
    if system.control != "none":
        said.append(f"{system.control} embeddings")
    if system.needs_encoder:
        choice = recipe.speaker
        often = choice.enrolment
        told = often if often == "leave-one-out" else f"{often:g} s"
        said.append(
            f"speaker embeddings: {choice.encoder}, {told}: uses the unlabelled audio of test "
            "speakers"
        )
    if system.places:
        said.append(f"places={'/'.join(map(str, system.places))}")
    if system.integration == "gradient-reversal":
        said.append(f"lambda={system.reversal:g}")
    if system.context:
        said.append(f"context={system.context}")
    said += [
        f"width={system.width}",
        f"layers={system.layers}",
        f"epochs={system.epochs}",
        f"rate={system.rate:g}",
        f"{system.loss} loss",
    ]
    return f"{system.name} ({'; '.join(said)})"


def _require(found: Sources, system: SpeakerSystem) -> None:
    """See `SpeakerMethod.require`."""
    if not system.features.frames:
        raise DataError(
            f"{system.name}: a transformer hears frames, and frames = 0 takes functionals: give "
            "features.frames"
        )
    if system.control != "none" and not system.takes_speaker:
        raise DataError(
            f"{system.name}: control = {system.control!r} is for integrations that take "
            f"embeddings, and {system.integration} takes none: leave it out"
        )
    utterances = found.main.utterances
    unknown = [u.id for u in utterances if u.speaker is None]
    if unknown and (system.needs_encoder or system.integration == "gradient-reversal"):
        place = found.main.places.get(unknown[0], unknown[0])
        raise DataError(
            f"{place}: no speaker, and integration = {system.integration!r} of {system.name} needs "
            f"to know who speaks; {len(unknown)} of {len(utterances)} utterances lack it: fill the "
            'column speaker in, or take integration = "none"'
        )
    if system.context and all(u.session is None for u in utterances):
        raise DataError(
            f"{system.name}: context = {system.context} hears the utterances before in a session, "
            "and the corpora name none: fill the column session in, or leave context out"
        )
    for fold in found.main.table.folds:
        names = {utterances[i].speaker for i in found.main.rows(fold.train)}
        system.config(1, "y", 2, 1, len(names))


def _frames(work: Work) -> Frames:
    """All frames as arrays, so that other processes can be given them."""
    values = work.loaded.values
    assert values.mask is not None
    return Frames(values.x.cpu().numpy(), values.mask.cpu().numpy())


def _scaling(work: Work, job: Job) -> Scaling:
    found = [part.found for part in work.parts]
    return work.loaded.scaling(found, [job], work.system.features)


def trial_of(work: Work, job: Job, enroller: Enroller) -> Trial:
    """All that one training needs."""
    system: SpeakerSystem = work.system
    material = work.part(job).found.main
    utterances = material.utterances
    scaling = _scaling(work, job)
    place = scaling.place[0].cpu().numpy()
    names = sorted({utterances[i].speaker or "" for i in job.labelled})
    codes = {name: place for place, name in enumerate(names)}
    training = set(job.labelled.tolist())
    speakers = [codes[u.speaker or ""] if i in training else -1 for i, u in enumerate(utterances)]
    knowledge = enroller.knowledge(system, utterances, job)
    config = system.config(
        work.loaded.values.x.shape[-1],
        work.part(job).found.targets[0].target,
        len(material.labels),
        knowledge.embedding.shape[1],
        len(names),
    )
    return Trial(
        system,
        config,
        job,
        work.steps,
        place=place,
        group=scaling.group[0].cpu().numpy(),
        mean=scaling.mean[0].cpu().numpy(),
        scale=scaling.scale[0].cpu().numpy(),
        limit=scaling.limit,
        truth=material.truth,
        speakers=np.array(speakers, dtype=np.int64),
        before=before(utterances, job, system.context),
        knowledge=knowledge,
        curve=points(
            enroller,
            system,
            utterances,
            [work.loaded.values.raw[i] for i in place[: len(utterances)]],
            system.features.step * _FRAME,
            job,
        ),
    )


def before(utterances: Sequence[Utterance], job: Job, count: int) -> Rows:
    """The utterances before each in its session, the nearest last `[n, count]`, -1 for none.

    A training utterance is given training utterances only, a held-out one held-out ones.

    Args:
        utterances: in the order of their dialogues.
        job: says who trains.
        count: how many.
    """
    out = np.full((len(utterances), count), -1, dtype=np.int64)
    held = {*job.validation.tolist(), *job.test.tolist()}
    used = held | set(job.labelled.tolist())
    gone: dict[tuple[str, str, bool], list[int]] = {}
    for row, u in enumerate(utterances if count else ()):
        if u.session is None or row not in used:
            continue
        earlier = gone.setdefault((u.corpus, u.session, row in held), [])
        last = earlier[-count:]
        if last:
            out[row, -len(last) :] = last
        earlier.append(row)
    return out


def _alone(work: Work, job: Job, enroller: Enroller) -> list[str]:
    """The utterances of a job without an embedding."""
    utterances = work.part(job).found.main.utterances
    system = replace(work.system, control="none")
    known = enroller.knowledge(system, utterances, job).known
    rows = np.concatenate([job.labelled, job.validation, job.test])
    return [utterances[i].id for i in rows if not known[i]]


def _unheard(utterances: Sequence[Utterance], failures: Any) -> str:
    """How many utterances have an embedding of their own."""
    failed = [failures[u.id] for u in utterances if u.id in failures]
    first = f"; {len(failed)} have none, such as {failed[0]}" if failed else ""
    return f"speaker embeddings of {len(utterances) - len(failed)} utterances{first}"


_shared: list[tuple[Frames, Callable[[], None]]] = []


def _start(frames: Frames, steps: Synchronized[int]) -> None:
    """Prepare a process of its own."""

    def step() -> None:
        with steps.get_lock():
            steps.value += 1

    _shared[:] = [(frames, step)]


def _train_started(trial: Trial) -> Outcome:
    frames, step = _shared[0]
    with threads(1):
        return fit(frames, trial, step)


def _one_by_one(
    frames: Frames,
    trials: Sequence[Trial],
    device: torch.device,
    done: Callable[[int, Outcome], None],
    report: Callable[[int], None],
) -> None:
    steps = [0]

    def step() -> None:
        steps[0] += 1
        report(steps[0])

    for index, trial in enumerate(trials):
        # Another number of threads sums in another order: one, so that `jobs` changes nothing.
        with threads(1):
            outcome = fit(frames, trial, step, device)
        done(index, outcome)


def _side_by_side(
    frames: Frames,
    trials: Sequence[Trial],
    count: int,
    done: Callable[[int, Outcome], None],
    report: Callable[[int], None],
) -> None:
    # Shared memory and the pool must come from one way of starting processes: spawning.
    steps = multiprocessing.get_context("spawn").Value("q", 0)
    with worker_pool(count, _start, (frames, steps)) as pool:
        waiting = {pool.submit(_train_started, trial): i for i, trial in enumerate(trials)}
        while waiting:
            finished, _ = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
            for future in finished:
                done(waiting.pop(future), future.result())
            report(steps.value)


def state_of(work: Work, trial: Trial, outcome: Outcome) -> dict[str, torch.Tensor]:
    """The weights and the normalisation of features as extracted."""
    weights = {name: torch.from_numpy(value) for name, value in outcome.state.items()}
    whole_ = _scaling(work, trial.job).whole(work.loaded.values, 0)
    return weights | {name: value.float() for name, value in whole_.items()}


def _kept(work: Work, trial: Trial, outcome: Outcome) -> Kept:
    return Kept(outcome.epoch, outcome.curves, {}, outcome.diverged)


def _keep_tables(work: Work, trial: Trial, outcome: Outcome) -> None:
    """Predictions: those of the curve and those without something first."""
    assert outcome.scores is not None
    job = trial.job
    part, fold = work.part(job), work.fold(job)
    meta = {**part.meta[0], "chosen": json.dumps({"epoch": outcome.epoch})}
    material, folder = part.found.main, part.folders[0]
    likely = not trial.system.only_labels
    further = []
    for point, scores in zip(trial.curve, outcome.further, strict=True):
        told = {"seconds": point.seconds, "heard": round(point.heard, 2)}
        further.append((curve_name(point.seconds), scores, {"enrolment": json.dumps(told)}))
    for name, scores in outcome.without.items():
        further.append((without_name(name), scores, {"missing": name}))
    for kind, scores, more in further:
        table = material.predictions(
            job.test, scores, fold, job.seed, {**meta, **more}, probabilities=likely
        )
        path = folder.part(kind, fold, job.seed, "parquet")
        path.parent.mkdir(exist_ok=True)
        with whole(path) as unfinished:
            table.write(unfinished)
    table = material.predictions(
        job.test, outcome.scores, fold, job.seed, meta, probabilities=likely
    )
    folder.keep(fold, job.seed, table)


def curve_name(seconds: float) -> str:
    """The folder of predictions with so many seconds of enrolment."""
    return f"enrolment-{seconds:g}s"


def without_name(what: str) -> str:
    """The folder of predictions without the words, or without the voice."""
    return f"without-{what}"


def convergence(
    folder: RunFolder, seeds: Sequence[int], system: SpeakerSystem, lengths: Sequence[float]
) -> dict[str, Any]:
    """Where the curves of all trainings ended, what that says, and the enrolment curve."""
    ends = last_epochs(folder, seeds)
    mean = {name: round(float(np.mean(values)), 4) for name, values in ends.items()}
    late = sum(epoch > LAST * system.epochs for epoch in ends.get("epoch", []))
    count = len(ends.get("epoch", []))
    cautions = []
    if "uar" in mean and system.epochs > 1 and late > count / 2:
        cautions.append(
            f"the best epoch is among the last tenth in {late} of {count} trainings: more epochs "
            "might do better"
        )
    found: dict[str, Any] = {"last_epoch": mean, "cautions": cautions}
    curve = []
    for seconds in lengths:
        if tables := tables_of(folder, curve_name(seconds), seeds):
            heard = [json.loads(table.meta["enrolment"])["heard"] for table in tables]
            told = {"seconds": seconds, "heard": round(float(np.mean(heard)), 2)}
            curve.append(told | {"uar": mean_uar(tables)})
    return found | ({"curve": curve} if curve else {})


def tables_of(folder: RunFolder, kind: str, seeds: Sequence[int]) -> list[PredictionTable]:
    """All tables of a kind beside the predictions; none where one is missing."""
    paths = [
        folder.part(kind, fold.name, seed, "parquet")
        for seed in seeds
        for fold in folder.table.folds
    ]
    if not all(path.exists() for path in paths):
        return []
    return [read_predictions(path) for path in paths]


def mean_uar(tables: Sequence[PredictionTable]) -> float:
    """Of predictions pooled over folds, the mean over seeds."""
    return round(float(np.mean(seed_scores(concatenate(tables)))), 4)
