"""Design of inorganic crystals: voxels, a conditional variational autoencoder, a U-Net, crystal-graph networks.

The names below load on first use, so that ``import icsg3d`` takes milliseconds and imports neither torch nor
pymatgen.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icsg3d.generator import CrystalGenerator
    from icsg3d.predictor import PropertyPredictor
    from icsg3d.segmentation import segment
    from icsg3d.voxels import VoxelConfig, voxelize

__version__ = "0.1.0"

__all__ = ["CrystalGenerator", "PropertyPredictor", "VoxelConfig", "__version__", "segment", "voxelize"]

# Where each public name lives. A new name goes here, into `__all__` and into the imports above.
_LAZY = {
    "CrystalGenerator": "icsg3d.generator",
    "PropertyPredictor": "icsg3d.predictor",
    "VoxelConfig": "icsg3d.voxels",
    "segment": "icsg3d.segmentation",
    "voxelize": "icsg3d.voxels",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names whether or not they are loaded yet."""
    return sorted({*globals(), *__all__})
