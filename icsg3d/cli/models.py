"""``icsg3d models``."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    name: Annotated[str | None, typer.Argument(help="Model whose card is shown; without it, all are listed.")] = None,
) -> None:
    """List the shipped models with what they do, or show the card of one.

    **Examples**

        icsg3d models

        icsg3d models formation_energy_per_atom
    """
    from icsg3d import pretrained
    from icsg3d.properties import PROPERTIES

    if name is None:
        for each in pretrained.available():
            known = PROPERTIES.get(each)
            unit = f", {known.unit}" if known and known.unit else ""
            typer.echo(f"{each:<28}{f'property: {known.description}{unit}' if known else 'generator'}")
        return
    card = pretrained.find(name) / pretrained.CARD_FILE
    typer.echo(card.read_text() if card.is_file() else f"{name} has no card")
