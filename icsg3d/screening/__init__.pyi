from .batches import LostDraws
from .constraints import Constraints
from .judging import merit, placed, ranked
from .merging import Contender, Part, contender, contenders, judge_part, merge_parts
from .pipeline import Judge
from .screen import Screening, screen, smallest_distance_ratio, space_group, usable, with_symmetry
from .shortlist import Shortlist, fill
from .validity import composition_valid, structure_valid

__all__ = [
    "Constraints",
    "Contender",
    "Judge",
    "LostDraws",
    "Part",
    "Screening",
    "Shortlist",
    "composition_valid",
    "contender",
    "contenders",
    "fill",
    "judge_part",
    "merge_parts",
    "merit",
    "placed",
    "ranked",
    "screen",
    "smallest_distance_ratio",
    "space_group",
    "structure_valid",
    "usable",
    "with_symmetry",
]
