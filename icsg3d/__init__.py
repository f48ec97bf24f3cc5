"""Design of inorganic crystals: voxel grids, a conditional variational autoencoder, a U-Net, crystal-graph networks.

Public names load on first use, so that ``import icsg3d`` takes milliseconds and imports neither torch nor pymatgen.
"""

from __future__ import annotations

import lazy_loader

from icsg3d import _moved

__version__ = "0.1.0"

# The public names, and where each lives, stand in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]

_moved.install()
