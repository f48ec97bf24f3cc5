from .building import hull_phases
from .phases import Phase, phases_from_entries, read_phases
from .reference import Decomposition, HullPosition, ReferenceHull

__all__ = [
    "Decomposition",
    "HullPosition",
    "Phase",
    "ReferenceHull",
    "hull_phases",
    "phases_from_entries",
    "read_phases",
]
