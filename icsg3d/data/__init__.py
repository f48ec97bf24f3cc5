"""Crystals from files."""

from __future__ import annotations

from icsg3d.data.frames import read_frame, write_frame
from icsg3d.data.sources import CrystalTable, load_structures

__all__ = ["CrystalTable", "load_structures", "read_frame", "write_frame"]
