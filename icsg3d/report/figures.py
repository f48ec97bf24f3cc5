"""How pictures are written."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib as mpl

from icsg3d.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure, whole or not at all."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "icsg3d"}):
        figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    write_atomically(path, buffer.getvalue())
