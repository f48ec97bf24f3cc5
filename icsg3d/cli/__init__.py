"""The command line: ``icsg3d generate``, ``reconstruct``, ``predict``, ``validate``, ``evaluate`` and ``train``."""

from __future__ import annotations

import typer

from icsg3d.cli.compare_polymorphs import compare_polymorphs
from icsg3d.cli.console import fail
from icsg3d.cli.data import app as data_app
from icsg3d.cli.evaluate import app as evaluate_app
from icsg3d.cli.generate import generate
from icsg3d.cli.models import models
from icsg3d.cli.predict import predict
from icsg3d.cli.reconstruct import reconstruct
from icsg3d.cli.train import app as train_app
from icsg3d.cli.validate import validate
from icsg3d.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Design inorganic crystals: generate, rebuild, predict, validate, evaluate, train.",
)
app.command()(generate)
app.command()(reconstruct)
app.command()(predict)
app.command()(validate)
app.command("compare-polymorphs")(compare_polymorphs)
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
    version: bool = typer.Option(
        False,
        "--version",
        callback=_version,
        is_eager=True,
        help="Print the version and leave.",
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line; wrong input ends in one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"{error.filename}: {error.strerror}; name a file or folder that can be used, or free what blocks it")
    except KeyboardInterrupt:
        fail("interrupted", code=130)


if __name__ == "__main__":
    main()
