from .engines import chgnet_engine, engine_named, gpaw_engine, vasp_engine
from .flows import CandidateValidationMaker, ScreeningFlowMaker
from .formation import FormationEnergyMaker
from .gpaw import GpawRelaxMaker, GpawSettings, GpawStaticMaker
from .jobs import GenerateMaker, ScreenMaker, ValidationSummaryMaker
from .local import LocalRun, run_flow
from .schemas import CandidateDoc, CandidatesDoc, FormationEnergyDoc, ValidationDoc, ValidationSummaryDoc
from .stores import chosen_store, folder_store

__all__ = [
    "CandidateDoc",
    "CandidateValidationMaker",
    "CandidatesDoc",
    "FormationEnergyDoc",
    "FormationEnergyMaker",
    "GenerateMaker",
    "GpawRelaxMaker",
    "GpawSettings",
    "GpawStaticMaker",
    "LocalRun",
    "ScreenMaker",
    "ScreeningFlowMaker",
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
