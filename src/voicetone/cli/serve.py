"""`voicetone serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from voicetone.cli.output import needing, say

HELP = """Serve voice tone for calls in progress and for files, over HTTP and WebSockets.

Settings come from a TOML file, the environment (VOICETONE_SERVER__TABLE__KEY=...) and words
such as limits.channels=50, the later the stronger."""


def serve(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings that differ from the file's."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1, this machine.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="TCP port. Default: 8765; 0 for any.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes, one per core to use.")] = None,
    model: Annotated[
        str | None, typer.Option(help="An installed model or the folder of a bundle.")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file with the chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file with its key.")] = None,
    new_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Print a new key and its entry for the settings."),
    ] = None,
) -> None:
    with needing("serve", "serve"):
        from voicetone.server.keys import new_key as made
        from voicetone.server.settings import override, read_settings
        from voicetone.server.workers import serve as run

    if new_key is not None:
        key, entry = made(new_key)
        say(f"# The key, for the client; it is shown only now:\n# {key}\n{entry}")
        return
    settings = override(
        read_settings(config, words or (), os.environ),
        host=host,
        port=port,
        workers=workers,
        model=model,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
    )
    code = run(settings, say)
    if code:
        raise typer.Exit(code)
