"""Imports point down only, room by room, and no module imports itself in a circle.

Every import statement counts, also those inside functions and under ``TYPE_CHECKING``. The root ``icsg3d/__init__.py``
and the ``__init__`` of a room stand outside: they only name, lazily, what lives in them.
"""

from __future__ import annotations

import ast
import graphlib
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "icsg3d"

# From the ground up. A new file or folder directly below icsg3d/ is added in the lowest place it can live in.
ROOMS = [
    "errors",
    "arguments",
    "defaults",
    "limits",
    "processors",
    "files",
    "progress",
    "stopping",
    "bars",
    "citations",
    "refusals",
    "run_folders",
    "_moved",
    "crystals",
    "representation",
    "models",
    "training",
    "pretrained",
    "data",
    "properties",
    "hull",
    "generation",
    "screening",
    "calculators",
    "featurizers",
    "transformations",
    "testing",
    "evaluation",
    "workflows",
    "plot",
    "report",
    "runs",
    "cli",
    "__main__",
]

CRYSTAL_LIBRARIES = {"ase", "pymatgen"}
ECOSYSTEM = {"atomate2", "emmet", "jobflow", "matminer", "typer"}

# What must run where there is torch and no pymatgen: rooms, and modules of mixed rooms.
ARRAYS = {"arguments", "errors", "files", "limits", "processors", "progress", "refusals"}
ARRAYS |= {"representation", "models", "training"}
ARRAY_MODULES = {f"icsg3d.crystals.{name}" for name in ("arrays", "bounds", "comparison", "elements", "symmetry")}
# Rooms in which the libraries of the ecosystem are at home.
PLUGINS = {"featurizers", "transformations", "calculators", "workflows", "report", "runs", "cli", "__main__"}
# Modules elsewhere that may call matminer, on request only: a source of data, and fingerprints of evaluations.
EXCEPTIONS = {("icsg3d.data.matminer_datasets", "matminer"), ("icsg3d.evaluation.fingerprints", "matminer")}


def dotted_name(file: Path, package: Path) -> str:
    """Name of the module in a file: icsg3d/models/vae.py is icsg3d.models.vae."""
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """Dotted names that a module imports; `from a import b` gives a.b, as b may be a module."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            names |= {".".join([*base, alias.name]) for alias in node.names}
    return names


@cache
def public_names() -> dict[str, str]:
    """Where the lazy names of the package root live: CrystalGenerator is in icsg3d.generation.generator."""
    found = {}
    for node in ast.parse((PACKAGE / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name: f"icsg3d.{node.module}" for alias in node.names}
    return found


def is_array_module(module: str) -> bool:
    return module in ARRAY_MODULES or module.split(".")[1] in ARRAYS


def violations(module: str, names: set[str]) -> list[str]:
    """What a module imports against the rules."""
    room = module.split(".")[1]
    forbidden = set() if room in PLUGINS else set(ECOSYSTEM)
    if is_array_module(module):
        forbidden |= CRYSTAL_LIBRARIES
    found = []
    for name in sorted(names):
        top, _, rest = name.partition(".")
        if top in forbidden and (module, top) not in EXCEPTIONS:
            found.append(f"{module} imports {name}, and {room} must not know {top}")
        if top != "icsg3d" or not rest or rest == "__version__":
            continue
        target = public_names().get(rest, name)
        if ROOMS.index(target.split(".")[1]) > ROOMS.index(room):
            found.append(f"{module} imports {name}, which lies above {room}")
        elif is_array_module(module) and not is_array_module(".".join(target.split(".")[:3])):
            found.append(f"{module} imports {name}, which needs pymatgen")
    return found


FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: dotted_name(file, PACKAGE))
def test_imports_point_down(file):
    module = dotted_name(file, PACKAGE)
    room = module.split(".")[1]
    assert room in ROOMS, f"icsg3d.{room} is no room: add it to ROOMS of tests/test_layers.py, as low as it can live"
    names = imported_names(file.read_text(encoding="utf-8"), module, is_package=file.name == "__init__.py")
    assert not violations(module, names)


def test_no_module_imports_itself_in_a_circle():
    modules = {dotted_name(file, PACKAGE): file for file in FILES}
    graph = {}
    for module, file in modules.items():
        names = imported_names(file.read_text(encoding="utf-8"), module, is_package=file.name == "__init__.py")
        targets = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = {target for target in targets if target in modules and target != module}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_rooms_are_there():
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize(
    ("module", "source", "count"),
    [
        ("icsg3d.representation.voxels", "import numpy\nimport torch\nfrom icsg3d.crystals.elements import RADII", 0),
        ("icsg3d.representation.voxels", "from icsg3d import __version__", 0),
        ("icsg3d.representation.voxels", "from pymatgen.core import Structure", 1),
        ("icsg3d.representation.voxels", "def f():\n    import ase.io", 1),
        ("icsg3d.representation.voxels", "from icsg3d.crystals.structures import to_arrays", 1),
        ("icsg3d.representation.voxels", "from icsg3d import CrystalGenerator", 1),
        ("icsg3d.representation.voxels", "from ..crystals import structures", 1),
        ("icsg3d.models.vae", "from ..generation.generator import CrystalGenerator", 1),
        ("icsg3d.models.vae", "from .unet import SegmentationUNet\nfrom ..representation.voxels import VoxelConfig", 0),
        ("icsg3d.crystals.elements", "import icsg3d.representation.voxels", 1),
        ("icsg3d.crystals.symmetry", "from icsg3d.crystals.structures import to_arrays", 1),
        ("icsg3d.generation.generator", "from pymatgen.core import Structure\nfrom icsg3d.models import CrystalVAE", 0),
        ("icsg3d.generation.generator", "import icsg3d.cli\nfrom jobflow import job", 2),
        ("icsg3d.screening.screen", "from icsg3d.evaluation.generation import report", 1),
        ("icsg3d.cli", "import typer\nfrom icsg3d.workflows.flows import Flow\nimport icsg3d.files", 0),
    ],
)
def test_rules_find_what_they_should(module, source, count):
    assert len(violations(module, imported_names(source, module))) == count


def test_relative_imports_of_a_subpackage_resolve():
    source = "from .vae import CrystalVAE\nfrom ..cli import main"
    names = imported_names(source, "icsg3d.models", is_package=True)
    assert names == {"icsg3d.models.vae.CrystalVAE", "icsg3d.cli.main"}
