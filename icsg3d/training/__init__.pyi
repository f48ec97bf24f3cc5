from .augment import Augmentation
from .data import CrystalSet, PropertySet
from .ensembles import train_ensemble
from .flow import Cloud, FlowOptions, fit_flow
from .generator import train_generator
from .options import Stage, TrainingOptions
from .properties import PropertyOptions, TrainingPhase, from_scratch, paper_transfer, train_network
from .variants import symmetric_variants
from .widening import widened

__all__ = [
    "Augmentation",
    "Cloud",
    "CrystalSet",
    "FlowOptions",
    "PropertyOptions",
    "PropertySet",
    "Stage",
    "TrainingOptions",
    "TrainingPhase",
    "fit_flow",
    "from_scratch",
    "paper_transfer",
    "symmetric_variants",
    "train_ensemble",
    "train_generator",
    "train_network",
    "widened",
]
