"""What a shell offers after Tab: shipped models and properties, engines. Where none fits, it offers files itself."""

from __future__ import annotations

import json
from pathlib import Path

import icsg3d

_SHIPPED = Path(icsg3d.__file__).parent / "pretrained"
"""Read here without the package's own reader, which imports torch: a shell waits for the answer."""


def models(incomplete: str) -> list[str]:
    """Return the shipped models that a word may become."""
    return _shipped(incomplete, "")


def generators(incomplete: str) -> list[str]:
    """Return the shipped generators that a word may become."""
    return _shipped(incomplete, "icsg3d-generator")


def properties(incomplete: str) -> list[str]:
    """Return the properties with a shipped model that a word may become."""
    return _shipped(incomplete, "icsg3d-property")


def featurizers(incomplete: str) -> list[str]:
    """Return the kinds of featurizers, and those with a shipped model, that a word may become."""
    kind, given, model = incomplete.partition("=")
    if not given:
        return [name for name in ("graph", "latent", "property") if name.startswith(kind)]
    found = generators(model) if kind == "latent" else properties(model)
    return [f"{kind}={name}" for name in found]


def engines(incomplete: str) -> list[str]:
    """Return the engines that a word may become."""
    return [name for name in ("chgnet", "gpaw", "vasp") if name.startswith(incomplete)]


def _shipped(incomplete: str, kind: str) -> list[str]:
    found = sorted(_SHIPPED.glob(f"{incomplete}*/config.json")) if incomplete.isidentifier() or not incomplete else []
    return [path.parent.name for path in found if json.loads(path.read_text())["format"].startswith(kind)]
