"""Imports point down only: each module belongs to a layer and imports from its own layer and those below.

Every import statement counts, also those inside functions and under ``TYPE_CHECKING``. The package root
``icsg3d/__init__.py`` stands outside the layers: it only names, lazily, what lives in them.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import icsg3d

PACKAGE = Path(__file__).parents[1] / "icsg3d"

# A new module or subpackage directly below icsg3d/ is registered here, in the lowest layer it can live in.
LAYERS: dict[int, set[str]] = {
    0: {"elements", "errors", "properties", "random", "seeds"},
    1: {"arrays", "decoding", "graphs", "models", "refining", "segmentation", "symmetry", "training", "voxels"},
    2: {
        "candidates",
        "data",
        "evaluation",
        "generator",
        "latent",
        "predictor",
        "pretrained",
        "prototypes",
        "scaling",
        "screening",
        "search",
        "structures",
        "testing",
    },
    3: {"__main__", "calculators", "cli", "featurizers", "report", "transformations", "workflows"},
}
# Modules below layer 3 that may call matminer, on request only: a source of data, and fingerprints of evaluations.
EXCEPTIONS = {("icsg3d.data.matminer_datasets", "matminer"), ("icsg3d.evaluation.fingerprints", "matminer")}

LAYER_OF = {module: layer for layer, modules in LAYERS.items() for module in modules}

# Libraries that a layer must not import: arrays know no crystals, crystals know no workflows.
ECOSYSTEM = {"atomate2", "emmet", "jobflow", "matminer", "typer"}
CRYSTALS = {"ase", "pymatgen"}
FORBIDDEN: dict[int, set[str]] = {
    0: ECOSYSTEM | CRYSTALS,
    1: ECOSYSTEM | CRYSTALS,
    2: ECOSYSTEM,
    3: set(),
}


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


def violations(module: str, names: set[str]) -> list[str]:
    """What a module imports against the rules."""
    layer = LAYER_OF[module.split(".")[1]]
    found = []
    for name in sorted(names):
        top, _, rest = name.partition(".")
        if top in FORBIDDEN[layer] and (module, top) not in EXCEPTIONS:
            found.append(f"{module} (layer {layer}) imports {name}, and layer {layer} must not know {top}")
        if top != "icsg3d" or not rest:
            continue
        # A lazy name of the package root counts as the module it comes from.
        target = icsg3d._LAZY.get(rest, name).split(".")[1]
        if LAYER_OF.get(target, 0) > layer:
            found.append(f"{module} (layer {layer}) imports {name} of layer {LAYER_OF[target]}")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))
LAYERED = [file for file in FILES if file != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("file", LAYERED, ids=lambda file: dotted_name(file, PACKAGE))
def test_imports_point_down(file):
    module = dotted_name(file, PACKAGE)
    top = module.split(".")[1]
    assert top in LAYER_OF, (
        f"icsg3d.{top} belongs to no layer: register it in LAYERS of tests/test_layers.py, "
        "in the lowest layer it can live in"
    )
    names = imported_names(file.read_text(encoding="utf-8"), module, is_package=file.name == "__init__.py")
    assert not violations(module, names)


def test_layers_do_not_overlap():
    assert sum(len(modules) for modules in LAYERS.values()) == len(LAYER_OF)


@pytest.mark.parametrize(
    ("module", "source", "count"),
    [
        ("icsg3d.voxels", "import numpy\nimport torch\nfrom icsg3d.elements import RADII", 0),
        ("icsg3d.voxels", "from icsg3d import __version__", 0),
        ("icsg3d.voxels", "from pymatgen.core import Structure", 1),
        ("icsg3d.voxels", "def f():\n    import ase.io", 1),
        ("icsg3d.voxels", "from icsg3d import generator", 1),
        ("icsg3d.voxels", "from icsg3d import CrystalGenerator", 1),
        ("icsg3d.voxels", "from . import structures", 1),
        ("icsg3d.models.vae", "from ..generator import CrystalGenerator", 1),
        ("icsg3d.models.vae", "from .unet import SegmentationUNet\nfrom ..voxels import VoxelConfig", 0),
        ("icsg3d.elements", "import icsg3d.voxels", 1),
        ("icsg3d.generator", "from pymatgen.core import Structure\nfrom icsg3d.models import CrystalVAE", 0),
        ("icsg3d.generator", "import icsg3d.cli\nfrom jobflow import job", 2),
        ("icsg3d.cli", "import typer\nfrom icsg3d.workflows.flows import Flow\nimport icsg3d.voxels", 0),
    ],
)
def test_rules_find_what_they_should(module, source, count):
    assert len(violations(module, imported_names(source, module))) == count


def test_relative_imports_of_a_subpackage_resolve():
    source = "from .vae import CrystalVAE\nfrom ..cli import main"
    names = imported_names(source, "icsg3d.models", is_package=True)
    assert names == {"icsg3d.models.vae.CrystalVAE", "icsg3d.cli.main"}
