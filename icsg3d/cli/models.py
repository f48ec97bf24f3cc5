"""``icsg3d models``."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    name: Annotated[str | None, typer.Argument(help="Model whose card is shown; without it, all are listed.")] = None,
) -> None:
    """List the shipped models, or show the card of one."""
    from icsg3d import pretrained

    if name is None:
        for each in pretrained.available():
            typer.echo(each)
        return
    card = pretrained.find(name) / pretrained.CARD_FILE
    typer.echo(card.read_text() if card.is_file() else f"{name} has no card")
