"""Earlier import paths, which still work: code and saved documents may name a module where it used to be."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

MOVED = {
    "icsg3d.arrays": "icsg3d.crystals.arrays",
    "icsg3d.candidates": "icsg3d.generation.candidates",
    "icsg3d.decoding": "icsg3d.models.decoding",
    "icsg3d.elements": "icsg3d.crystals.elements",
    "icsg3d.evaluation.validity": "icsg3d.screening.validity",
    "icsg3d.generator": "icsg3d.generation.generator",
    "icsg3d.graphs": "icsg3d.representation.graphs",
    "icsg3d.latent": "icsg3d.models.density",
    "icsg3d.models.storage": "icsg3d.models.checkpoints",
    "icsg3d.predictor": "icsg3d.properties.predictor",
    "icsg3d.prototypes": "icsg3d.generation.prototypes",
    "icsg3d.refining": "icsg3d.generation.inversion",
    "icsg3d.scaling": "icsg3d.properties.equilibrium",
    "icsg3d.search": "icsg3d.generation.search",
    "icsg3d.segmentation": "icsg3d.representation.segmentation",
    "icsg3d.structures": "icsg3d.crystals.structures",
    "icsg3d.symmetry": "icsg3d.crystals.symmetry",
    "icsg3d.training.losses": "icsg3d.models.losses",
    "icsg3d.training.metrics": "icsg3d.crystals.comparison",
    "icsg3d.screening.charges": "icsg3d.crystals.charges",
    "icsg3d.voxels": "icsg3d.representation.voxels",
}


class _Alias(MetaPathFinder, Loader):
    """Finds a module under its earlier name and hands over the one of the present name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        present = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} has moved to {present}", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = import_module(present)


def install() -> None:
    """Let the earlier names be found; a second call changes nothing."""
    if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.append(_Alias())
