from .charges import ChargeBalance, charge_balance
from .screen import Screening, refined, screen, smallest_distance_ratio, space_group, usable
from .validity import composition_valid, structure_valid

__all__ = [
    "ChargeBalance",
    "Screening",
    "charge_balance",
    "composition_valid",
    "refined",
    "screen",
    "smallest_distance_ratio",
    "space_group",
    "structure_valid",
    "usable",
]
