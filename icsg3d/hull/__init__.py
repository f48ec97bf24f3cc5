"""Convex hulls of known phases, by which crystals are judged; nothing is trained on them."""

from __future__ import annotations

from icsg3d.hull.phases import Phase, phases_from_entries, read_phases
from icsg3d.hull.reference import Decomposition, HullPosition, ReferenceHull

__all__ = ["Decomposition", "HullPosition", "Phase", "ReferenceHull", "phases_from_entries", "read_phases"]
