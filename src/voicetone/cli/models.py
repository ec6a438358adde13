"""`voicetone models`: which models there are, what one is, and whether it is unharmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicetone.cli.options import Data
from voicetone.cli.output import complain, needing, say, written
from voicetone.errors import BundleError, UsageError

if TYPE_CHECKING:
    from voicetone.pretrained import BundleSpec

MOST_LINES = 10  # of attribution, unless all are asked for

models = typer.Typer(name="models", help="List, describe, verify and make model bundles.")


@models.callback(invoke_without_command=True)
def _models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@models.command("list")
def list_models() -> None:
    """List the installed models."""
    from voicetone.pretrained import installed, verify

    found = installed()
    if not found:
        complain("no model is installed: install voicetone-tone-small, or give --model a folder")
        return
    damaged = False
    for name, folder in found.items():
        try:
            spec = verify(folder)
        except BundleError as error:
            damaged = True
            complain(str(error))
            continue
        size = megabytes(spec)
        say(f"{name}  {spec.version}  {size:.1f} MB  {spec.licence}  {folder}\n")
    if damaged:
        raise typer.Exit(BundleError.exit_code)


@models.command("info")
def info(
    model: Annotated[
        str | None, typer.Argument(metavar="NAME|PATH", help="The default model without one.")
    ] = None,
    attributions: Annotated[
        bool, typer.Option("--attributions", help="Also name everyone whose recordings it heard.")
    ] = False,
) -> None:
    """Say what a model is: card, licences, training data, metrics, size and cost."""
    from voicetone.pretrained import verify
    from voicetone.pretrained.bundle import find

    folder = find(model)
    spec = verify(folder)
    lines = [*_describe(spec, folder), *_attribution(spec, attributions)]
    say("".join(f"{line}\n" for line in lines))


@models.command("verify")
def verify_models(
    model: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|PATH", help="All installed models without one."),
    ] = None,
) -> None:
    """Check every file of a model against its hash."""
    from voicetone.pretrained import installed, verify

    failed = False
    names = model or list(installed())
    if not names:
        raise BundleError("no model is installed: install voicetone-tone-small or name a folder")
    for name in names:
        try:
            spec = verify(name)
        except BundleError as error:
            failed = True
            complain(str(error))
        else:
            say(f"{name}: {spec.id} is as it was made ({len(spec.files)} files)\n")
    if failed:
        raise typer.Exit(BundleError.exit_code)


@models.command("export")
def export_model(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="OUT/TARGET/SYSTEM of an aae, speaker-aware or fusion run."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")],
    fold: Annotated[
        str, typer.Option(help="Whose weights; by default the first fold's that were kept.")
    ] = "",
    seed: Annotated[
        int | None, typer.Option(help="Whose weights; by default of the run's first seed.")
    ] = None,
    data: Data = None,
    name: Annotated[
        str, typer.Option(help="Of the bundle; by default recipe, target and system.")
    ] = "",
    licence: Annotated[
        str, typer.Option(help="Of the weights; by default that of the training data.")
    ] = "",
    speaker_network: Annotated[
        Path | None,
        typer.Option(help="Where the run's own network of voices (encoder onnx) lies now."),
    ] = None,
) -> None:
    """Make a bundle of a trained network, for voicetone analyze --model."""
    with needing("models export", "data,train"), written(out):
        from voicetone.training.systems_trained import settings_of

        told: dict[str, Any] = {"fold": fold, "seed": seed, "data": data or ()}
        told |= {"name": name, "licence": licence}
        kind = settings_of(run, ("aae", "speaker-aware", "fusion"))["kind"]
        if kind == "aae":
            from voicetone.training.aae_export import export

            if speaker_network is not None:
                raise UsageError(
                    "--speaker-network: an autoencoder is told of no speaker: leave it out"
                )
            folder = export(run, out, **told)
        elif kind == "fusion":
            from voicetone.training import fusion_bundle

            folder = fusion_bundle.export(run, out, network=speaker_network, **told)
        else:
            from voicetone.training import speaker_export

            folder = speaker_export.export(run, out, network=speaker_network, **told)
    say(f"{folder}\n")


def megabytes(spec: BundleSpec) -> float:
    """Size of the bundle's files in MB (10⁶ bytes)."""
    return sum(file.bytes for file in spec.files.values()) / 1e6


def _describe(spec: BundleSpec, folder: Path) -> Iterator[str]:
    yield f"{spec.id}  ({folder})"
    yield spec.notice
    yield ""
    yield spec.card.rstrip()
    yield ""
    rows: dict[str, str] = {
        "created": spec.created,
        "licence": spec.licence,
        "sentiment": ", ".join(spec.label_spaces.sentiment),
        "emotion": ", ".join(spec.label_spaces.emotion) or "none",
        "hears": spec.hears,
        "speech": "from the model" if spec.speech_from == "model" else "estimated from energy",
        "speaker": _speaker(spec),
        "words": _words(spec),
        "windows": f"{spec.window_seconds:g} s every {spec.hop_seconds:g} s at "
        f"{spec.sample_rate} Hz",
        "parameters": f"{spec.parameters:,}",
        "multiply-adds": f"{spec.mac_per_second:,} per second of audio",
        "size": f"{megabytes(spec):.2f} MB",
        "not sure under": f"{spec.dont_know.sentiment:g}",
    }
    for name, file in spec.files.items():
        rows[name] = f"{file.bytes:,} bytes, SHA-256 {file.sha256}"
    for key, value in rows.items():
        yield f"{key:<15} {value}"
    yield from _training(spec)
    if spec.dont_know.curve:
        yield ""
        yield "Sure from this probability: share of windows labelled, accuracy on them"
        for threshold, coverage, accuracy in spec.dont_know.curve:
            yield f"  {threshold:.2f}  {coverage:6.1%}  {accuracy:6.1%}"
    if spec.metrics:
        yield ""
        yield "Metrics"
        yield from _tree(spec.metrics, 1)


def _speaker(spec: BundleSpec) -> str:
    part = spec.speaker
    if part is None:
        return "told of none"
    return (
        f"may be told of, by {part.encoder} ({part.size} values), or learns of in the first "
        f"{part.enrol_seconds:g} s of speech"
    )


def _words(spec: BundleSpec) -> str:
    part = spec.text
    if part is None:
        return "reads none"
    return f"reads {part.words:,} known words, {part.limit} of a window at most, if it is told any"


def _attribution(spec: BundleSpec, every: bool) -> Iterator[str]:
    if not spec.attribution:
        return
    yield ""
    if every or len(spec.attribution) <= MOST_LINES:
        yield "Attribution"
        yield from (f"  {line}" for line in spec.attribution)
    else:
        yield f"Attribution: {len(spec.attribution)} lines, which --attributions prints"


def _training(spec: BundleSpec) -> Iterator[str]:
    if not spec.training:
        return
    yield ""
    yield "Training data"
    for corpus in spec.training:
        note = f": {corpus.note}" if corpus.note else ""
        yield (
            f"  {corpus.corpus}  {corpus.utterances:,} utterances, {corpus.hours:.1f} h, "
            f"{corpus.licence}{note}"
        )


def _tree(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{'  ' * depth}{key}"
            yield from _tree(value, depth + 1)
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            yield f"{'  ' * depth}{key}: {text}"
