from .description import Description, describe
from .elemental import elemental_ground_states
from .frames import read_frame, write_frame
from .materials_project import fetch_materials_project
from .materials_query import MaterialsProjectQuery
from .paper import paper_table
from .sources import CrystalTable, count_crystals, iter_tables, load_structures
from .targets import property_set

__all__ = [
    "CrystalTable",
    "Description",
    "MaterialsProjectQuery",
    "count_crystals",
    "describe",
    "elemental_ground_states",
    "fetch_materials_project",
    "iter_tables",
    "load_structures",
    "paper_table",
    "property_set",
    "read_frame",
    "write_frame",
]
