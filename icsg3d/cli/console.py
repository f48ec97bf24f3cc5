"""What the commands share: messages, progress on the terminal, and options."""

from __future__ import annotations

import logging
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from icsg3d.cli import completion

if TYPE_CHECKING:
    from collections.abc import Iterator

console = Console(stderr=True, highlight=False)

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|PATH",
        autocompletion=completion.generators,
        help="Shipped model, or folder of a trained one.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1 ...")]
JobsOption = Annotated[
    int | None,
    typer.Option(help="Processes that share the work, by default as many as there are processors. Same result."),
]
ProcessesOption = Annotated[int, typer.Option("--jobs", help="Processes; -1 for one for each core.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Take up an interrupted run where it stopped.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run left in the folder.")]
SymmetryOption = Annotated[
    float,
    typer.Option("--symmetry", help="Bring crystals to the symmetry within this distance in angstrom; 0 for none."),
]
TrainingDataOption = Annotated[
    list[Path] | None, typer.Option("--data", help="Crystals to learn from: dataframe, file or folder; repeatable.")
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="NAME|PATH",
        autocompletion=completion.generators,
        help="Generator whose weights are the first ones.",
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Of everything random: 0.")]
AcceleratorOption = Annotated[str | None, typer.Option(help="cpu, gpu or auto (Lightning's).")]
PrecisionOption = Annotated[
    str | None, typer.Option(help="bfloat16, float32 or auto: bfloat16 where the processor has it in hardware.")
]
ConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="YAML file of options, such as the config.yaml of another run."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One more option of the configuration; repeatable."),
]


def fail(message: str, code: int = 2) -> NoReturn:
    """Print one sentence to standard error and leave."""
    console.print(f"[bold red]Error:[/] {escaped(message)}", soft_wrap=True)
    sys.exit(code)


def escaped(text: str) -> str:
    """Return a text in one line, with nothing in it that rich takes for markup."""
    return escape(" ".join(text.split()))


def bold(text: object) -> str:
    """Return a text, such as a path, in bold for :func:`say`, with nothing in it taken for markup."""
    return f"[bold]{escaped(str(text))}[/]"


def say(message: str) -> None:
    """Print a line about what happened to standard error."""
    console.print(message, soft_wrap=True)


def this_command() -> str:
    """Return the command line, for records; without ``--resume``, which says nothing about the result."""
    return shlex.join(["icsg3d", *(argument for argument in sys.argv[1:] if argument != "--resume")])


class _Messages(logging.Handler):
    """Prints what the library logs: warnings in yellow, details with the module they come from."""

    def emit(self, record: logging.LogRecord) -> None:
        text = escaped(record.getMessage())
        if record.levelno >= logging.WARNING:
            text = f"[yellow]{text}[/]"
        elif record.levelno < logging.INFO:
            text = f"[dim]{record.name}: {text}[/]"
        say(text)


def show_messages(level: int) -> None:
    """Print what the library logs from a level on."""
    logger = logging.getLogger("icsg3d")
    logger.handlers = [_Messages()]
    logger.setLevel(level)
    logger.propagate = False


def check_devices(devices: str) -> None:
    """Fail if torch cannot use one of several devices, separated by commas.

    Raises:
        InputError: if one is unknown or absent.
    """
    for device in devices.split(","):
        check_device(device)


def check_device(device: str) -> None:
    """Fail if torch cannot use a device.

    Raises:
        InputError: if the device is unknown or absent.
    """
    import torch

    from icsg3d.errors import InputError

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        msg = f"the device {device!r} cannot be used ({reason}); use --device cpu"
        raise InputError(msg) from error


_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")


def check_accelerator(accelerator: str) -> None:
    """Fail if Lightning knows no such accelerator.

    Raises:
        InputError: if it does not.
    """
    from icsg3d.errors import InputError

    if accelerator not in _ACCELERATORS:
        msg = f"there is no accelerator {accelerator!r}; give one of {', '.join(_ACCELERATORS)}"
        raise InputError(msg)


@contextmanager
def needs(extra: str, doing: str) -> Iterator[None]:
    """Name the extra that brings what cannot be imported within the ``with`` block.

    Raises:
        InputError: if something cannot be imported.
    """
    from icsg3d.errors import InputError

    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{doing} needs {error.name}; install it with pip install 'icsg3d[{extra}]'") from error
