"""Which phases of a table are needed for convex hulls of all of its chemical systems: those that are vertices."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull

from icsg3d.hull.phases import Phase, composition_of, symbols_of
from icsg3d.hull.systems import subsystems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from icsg3d.hull.systems import Symbols

_FLAT = 1e-9
"""Least energy component of the normal of a lower face."""


def hull_phases(phases: Iterable[Phase], report: Callable[[int], None] = lambda _: None) -> list[Phase]:
    """Return the phases that are vertices of the convex hull of their chemical system, elements first.

    A phase is one if no mixture of the others has its composition and an energy as low. Since the hull of a chemical
    system ends in those of the systems inside it, their vertices are all that competes. Elements are vertices, at 0.

    Args:
        phases: Of any compositions; of those of one composition the lowest counts.
        report: Called with the number of phases that were looked at, after each chemical system.
    """
    systems: dict[Symbols, dict[str, Phase]] = defaultdict(dict)
    for phase in phases:
        known = systems[symbols_of(phase.formula)]
        if phase.formula not in known or phase.energy < known[phase.formula].energy:
            known[phase.formula] = phase
    vertices: dict[Symbols, list[Phase]] = {}
    for symbols in sorted(systems, key=lambda s: (len(s), sorted(s))):
        inside = [phase for part in subsystems(symbols) for phase in vertices.get(part, [])]
        vertices[symbols] = _vertices(list(systems[symbols].values()), inside, sorted(symbols))
        report(len(systems[symbols]))
    return [phase for symbols in vertices for phase in vertices[symbols]]


def _vertices(own: list[Phase], inside: list[Phase], elements: list[str]) -> list[Phase]:
    """Return those of a system's own phases that are vertices, given the vertices of the systems inside it."""
    if len(elements) == 1:
        best = min(own, key=lambda p: p.energy)
        return [Phase(best.formula, 0.0, best.space_group)]
    bound = [phase for phase in own if phase.energy < 0]  # above the elements nothing is a vertex
    if not bound:
        return []
    everything = [*inside, *bound]
    shares = np.array([[composition_of(p.formula).get_atomic_fraction(e) for e in elements] for p in everything])
    on_hull = lower_vertices(shares, np.array([p.energy for p in everything]))
    return [phase for row, phase in enumerate(bound, start=len(inside)) if row in on_hull]


def lower_vertices(shares: np.ndarray, energies: np.ndarray) -> set[int]:
    """Return which points are vertices of the lower convex hull of energies over compositions.

    Args:
        shares: Atomic fractions, shape (points, elements); the pure elements are among them.
        energies: eV/atom, shape (points,).
    """
    points = np.column_stack([shares[:, 1:], energies])
    above = np.append(np.full(shares.shape[1] - 1, 1 / shares.shape[1]), energies.max() + 1)
    hull = ConvexHull(np.vstack([points, above]), qhull_options="Qt i")
    # The outward normals of the lower faces point to lower energies; those of the sides have no such component.
    lower = hull.simplices[hull.equations[:, -2] < -_FLAT]
    return {int(row) for row in np.unique(lower)} - {len(points)}
