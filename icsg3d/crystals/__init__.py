"""Crystals as arrays and as structures: elements, symmetry, comparison, matching.

``arrays``, ``elements``, ``symmetry`` and ``comparison`` need numpy, scipy and torch alone; ``structures`` and
``matching`` bring pymatgen.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
