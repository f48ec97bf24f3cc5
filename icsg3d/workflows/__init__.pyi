from .engines import chgnet_engine, engine_named, gpaw_engine, vasp_engine
from .flows import CandidateValidationMaker, ScreeningFlowMaker
from .formation import FormationEnergyMaker
from .gpaw import GpawRelaxMaker, GpawSettings, GpawStaticMaker
from .jobs import GenerateMaker, ScreenMaker, ValidationSummaryMaker
from .local import LocalRun, run_flow
from .schemas import (
    CandidateDoc,
    CandidatesDoc,
    FormationEnergyDoc,
    SelectionDoc,
    ShardDoc,
    ValidationDoc,
    ValidationSummaryDoc,
)
from .shards import DesignFlowMaker, MergeMaker, SelectMaker, ShardMaker
from .stores import chosen_store, folder_store

__all__ = [
    "CandidateDoc",
    "CandidateValidationMaker",
    "CandidatesDoc",
    "DesignFlowMaker",
    "FormationEnergyDoc",
    "FormationEnergyMaker",
    "GenerateMaker",
    "GpawRelaxMaker",
    "GpawSettings",
    "GpawStaticMaker",
    "LocalRun",
    "MergeMaker",
    "ScreenMaker",
    "ScreeningFlowMaker",
    "SelectMaker",
    "SelectionDoc",
    "ShardDoc",
    "ShardMaker",
    "ValidationDoc",
    "ValidationSummaryDoc",
    "ValidationSummaryMaker",
    "chgnet_engine",
    "chosen_store",
    "engine_named",
    "folder_store",
    "gpaw_engine",
    "run_flow",
    "vasp_engine",
]
