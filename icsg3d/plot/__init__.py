"""Figures of crystals and results: each function takes matplotlib axes, or makes them, and returns them."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
