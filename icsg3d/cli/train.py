"""``icsg3d train``."""

from __future__ import annotations

import typer

from icsg3d.cli.train_generator import generator
from icsg3d.cli.train_materials import materials
from icsg3d.cli.train_property import import_cgcnn
from icsg3d.cli.train_property import property_ as property_command

app = typer.Typer(no_args_is_help=True, help="Train networks.")
app.command()(generator)
app.command()(materials)
app.command(name="property")(property_command)
app.command(name="import-cgcnn")(import_cgcnn)
