"""One self-contained page of a folder of results: crystals that turn, tables, charts."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
