"""What the commands share: messages, progress, options, and folders that are written as results come."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

console = Console(stderr=True, highlight=False)

ModelOption = Annotated[
    str, typer.Option("--model", metavar="NAME|PATH", help="Shipped model, or folder of a trained one.")
]
DeviceOption = Annotated[str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1 ...")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")]


SymmetryOption = Annotated[
    float, typer.Option("--symmetry", help="Refine to the symmetry within this distance in angstrom; 0 for none.")
]


def fail(message: str, code: int = 2) -> NoReturn:
    """Print one sentence to standard error and leave."""
    console.print(f"[bold red]Error:[/] {escaped(message)}", soft_wrap=True)
    sys.exit(code)


def escaped(text: str) -> str:
    """Return a text in one line, with nothing in it that rich takes for markup."""
    return " ".join(text.split()).replace("[", r"\[")


def say(message: str) -> None:
    """Print a line about what happened to standard error."""
    console.print(message, soft_wrap=True)


def report_skipped(skipped: Mapping[str, str], shown: int = 5) -> None:
    """Name what was left out of a data source and why."""
    for name, reason in list(skipped.items())[:shown]:
        say(f"[yellow]left out {escaped(name)}:[/] {escaped(reason)}")
    if len(skipped) > shown:
        say(f"[yellow]... and {len(skipped) - shown} more; {len(skipped)} were left out[/]")


def progress_bar() -> Progress:
    """Return a progress bar with counts and the time left, on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=False,
    )


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


def all_seconds(out: Path, seconds: float, *, resume: bool) -> float:
    """Return the time of this run and of those it went on from, and remember it."""
    path = out / "seconds.txt"
    if resume and path.exists():
        seconds += float(path.read_text())
    path.write_text(f"{seconds:.0f}\n")
    return seconds
