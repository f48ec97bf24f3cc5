from .conditioning import BinResult
from .fingerprints import Fingerprint
from .generation import CUTOFFS, GenerationReport, Validity, coverage
from .polymorphs import Polymorph, polymorph_table
from .property_search import SearchResult, search_from, success_rates
from .reconstruction import Comparison, benchmark_matcher
from .relaxation import RelaxationChange, relaxation_change
from .segmentation import SegmentationReport, evaluate_segmentation
from .stability import ChgnetEnergies

__all__ = [
    "CUTOFFS",
    "BinResult",
    "ChgnetEnergies",
    "Comparison",
    "Fingerprint",
    "GenerationReport",
    "Polymorph",
    "RelaxationChange",
    "SearchResult",
    "SegmentationReport",
    "Validity",
    "benchmark_matcher",
    "coverage",
    "evaluate_segmentation",
    "polymorph_table",
    "relaxation_change",
    "search_from",
    "success_rates",
]
