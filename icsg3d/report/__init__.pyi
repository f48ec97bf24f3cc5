from .database import write_candidates
from .folders import CandidateFolder, read_candidates, read_candidates_or_crystals, unique_structures, write_cif
from .pictures import draw_candidates
from .validation import Averages, averages, table_s1, table_s3, write_tables

__all__ = [
    "Averages",
    "CandidateFolder",
    "averages",
    "draw_candidates",
    "read_candidates",
    "read_candidates_or_crystals",
    "table_s1",
    "table_s3",
    "unique_structures",
    "write_candidates",
    "write_cif",
    "write_tables",
]
