from .charges import ChargeBalance, charge_balance
from .constraints import Constraints
from .judging import merit, placed, ranked
from .pipeline import Judge
from .screen import Screening, refined, screen, smallest_distance_ratio, space_group, usable
from .shortlist import Shortlist, fill
from .validity import composition_valid, structure_valid

__all__ = [
    "ChargeBalance",
    "Constraints",
    "Judge",
    "Screening",
    "Shortlist",
    "charge_balance",
    "composition_valid",
    "fill",
    "merit",
    "placed",
    "ranked",
    "refined",
    "screen",
    "smallest_distance_ratio",
    "space_group",
    "structure_valid",
    "usable",
]
