"""Options of the commands whose work a workflow manager can spread over machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from icsg3d.cli.console import needs
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from icsg3d.runs.submit import Submission

_PANEL = "On many machines"

SubmitOption = Annotated[
    str | None,
    typer.Option(
        metavar="fireworks|remote",
        help="Hand the work to FireWorks or jobflow-remote instead of doing it here; then see icsg3d collect.",
        rich_help_panel=_PANEL,
    ),
]
ShardSizeOption = Annotated[
    int | None, typer.Option(min=1, help="With --submit, draws of one job: 1000.", rich_help_panel=_PANEL)
]
WorkerOption = Annotated[
    str | None, typer.Option(help="Worker of jobflow-remote: the first of its project.", rich_help_panel=_PANEL)
]
ProjectOption = Annotated[
    str | None, typer.Option(help="Project of jobflow-remote: its current one.", rich_help_panel=_PANEL)
]


def submission_of(
    submit: str | None, shard_size: int | None, worker: str | None, project: str | None
) -> Submission | None:
    """Return to whom the work is handed; None where it is done here.

    Raises:
        InputError: if options go with a manager, and none is named or another one.
    """
    if submit is None:
        if worker or project:
            raise InputError("--worker and --project go with --submit remote; add it, or leave them out")
        return None
    with needs("workflows", "a flow"):
        from icsg3d.runs.submit import Submission

    return Submission(submit, shard_size or 1000, worker, project)


def check_submission(*, resume: bool) -> None:
    """Refuse to resume what a manager does.

    Raises:
        InputError: if that is asked for.
    """
    if resume:
        raise InputError("what a manager does is not resumed here; see icsg3d collect, or begin anew with --overwrite")
