"""``icsg3d models``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from icsg3d.cli import completion


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=completion.models,
            help="Model whose card is shown; without it, all are listed.",
        ),
    ] = None,
) -> None:
    """List the shipped models with what they do, or show the card of one.

    **Examples**

        icsg3d models

        icsg3d models formation_energy_per_atom
    """
    from icsg3d import pretrained

    if name is None:
        for each in pretrained.available():
            typer.echo(f"{each:<28}{_described(each)}")
        return
    card = pretrained.find(name) / pretrained.CARD_FILE
    typer.echo(card.read_text() if card.is_file() else f"{name} has no card")


def _described(name: str) -> str:
    """Return in a line what a shipped model does; for a generator, which ranges of energy can be asked for."""
    from icsg3d import pretrained
    from icsg3d.models.checkpoints import CONFIG_FILE
    from icsg3d.models.targets import PROPERTIES
    from icsg3d.models.volume import VOLUME

    known = VOLUME if name == "volume" else PROPERTIES.get(name)
    if known:
        return f"property: {known.description}{f', {known.unit}' if known.unit else ''}"
    network = json.loads((pretrained.find(name) / CONFIG_FILE).read_text())["network"]
    edges = " ".join(f"{edge:.2f}" for edge in network["energy_edges"])
    return f"generator: {len(network['elements'])} elements, {network['condition']} in ranges between {edges} eV/atom"
