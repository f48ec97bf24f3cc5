from .arrays import (
    CrystalArrays,
    CrystalBatch,
    canonical_origin,
    lattice_from_parameters,
    lattice_parameters,
    periodic_distances,
)
from .charges import ChargeBalance, charge_balance
from .comparison import Rebuilt, compare
from .matching import Duplicates
from .structures import (
    CellSetting,
    Crystal,
    as_structure,
    from_arrays,
    network_cell,
    primitive_cell,
    read_structure,
    to_arrays,
)
from .symmetry import Operations, symmetrised, symmetry_operations

__all__ = [
    "CellSetting",
    "ChargeBalance",
    "Crystal",
    "CrystalArrays",
    "CrystalBatch",
    "Duplicates",
    "Operations",
    "Rebuilt",
    "as_structure",
    "canonical_origin",
    "charge_balance",
    "compare",
    "from_arrays",
    "lattice_from_parameters",
    "lattice_parameters",
    "network_cell",
    "periodic_distances",
    "primitive_cell",
    "read_structure",
    "symmetrised",
    "symmetry_operations",
    "to_arrays",
]
