"""The command line: ``icsg3d generate``, ``screen``, ``predict``, ``validate``, ``evaluate``, ``train`` and more."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from icsg3d.bars import Bars
from icsg3d.cli.collect import collect
from icsg3d.cli.compare_polymorphs import compare_polymorphs
from icsg3d.cli.console import console, fail, show_messages
from icsg3d.cli.data import app as data_app
from icsg3d.cli.evaluate import app as evaluate_app
from icsg3d.cli.featurize import featurize
from icsg3d.cli.generate import generate
from icsg3d.cli.models import models
from icsg3d.cli.predict import predict
from icsg3d.cli.reconstruct import reconstruct
from icsg3d.cli.report import report
from icsg3d.cli.screen import screen
from icsg3d.cli.train import app as train_app
from icsg3d.cli.validate import validate
from icsg3d.errors import InputError, Interrupted
from icsg3d.processors import settle_threads
from icsg3d.progress import listening
from icsg3d.stopping import exit_code


class _Commands(TyperGroup):
    """Ends where a run was stopped or nobody reads the output, before typer would end with less of a message."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt as stop:
            _fail_stopped(stop)
        except BrokenPipeError:
            # Python flushes standard output once more when it ends; there is nobody to read it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        return result


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Design inorganic crystals: generate, screen, rebuild, predict, featurize, validate, evaluate, train.",
)
app.command()(generate)
app.command()(reconstruct)
app.command()(predict)
app.command()(featurize)
app.command()(screen)
app.command()(validate)
app.command()(collect)
app.command("compare-polymorphs")(compare_polymorphs)
app.command()(report)
app.command()(models)
app.add_typer(data_app, name="data")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(train_app, name="train")


def _version(show: bool) -> None:
    if show:
        from icsg3d import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show in detail what each module does."),
    threads: int | None = typer.Option(
        None, help="Threads for the networks; by default one for each available processor."
    ),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Show only warnings, errors and the last line."),
    version: bool = typer.Option(  # noqa: ARG001 (its callback prints and leaves)
        False,
        "--version",
        callback=_version,
        is_eager=True,
        help="Print the version and exit.",
    ),
) -> None:
    settle_threads(threads)
    show_messages(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)


def main() -> None:
    """Run the command line; whatever goes wrong ends in one sentence and an exit code.

    2 stands for input that cannot be used, 130 for Ctrl-C, 143 and 129 for SIGTERM and SIGHUP, and 141 for an output
    that nobody reads.
    """
    try:
        with listening(Bars(console)):
            app()
    except InputError as error:
        fail(str(error))
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        fail(f"{where}{error.strerror}; name a file or folder that can be used, or free what blocks it")
    except KeyboardInterrupt as stop:
        _fail_stopped(stop)


def _fail_stopped(stop: KeyboardInterrupt) -> NoReturn:
    fail(str(stop) if isinstance(stop, Interrupted) else "interrupted", code=exit_code(stop))
