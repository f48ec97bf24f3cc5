"""Figures of crystals and of the grids they were read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data.colors import jmol_colors
from scipy.ndimage import distance_transform_cdt

from icsg3d.crystals.display import atoms_with_faces
from icsg3d.crystals.elements import atomic_radii, symbols
from icsg3d.errors import InputError
from icsg3d.plot.axes import given_or_new

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from mpl_toolkits.mplot3d import Axes3D
    from pymatgen.core import Structure

    from icsg3d.generation.candidates import Candidate


def structure(crystal: Structure, axes: Axes3D | None = None) -> Axes3D:
    """Draw a unit cell with the atoms in it and on its faces, and a legend of the elements.

    Args:
        crystal: The crystal.
        axes: Three-dimensional axes; new ones if None.
    """
    axes = given_or_new(axes, (3.2, 3.6), projection="3d")
    matrix = crystal.lattice.matrix
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    for start in corners:
        for end in corners:
            if (end - start).sum() == 1 and (end >= start).all():
                axes.plot(*np.array([start @ matrix, end @ matrix]).T, color="0.6", lw=0.8)
    numbers, coords = atoms_with_faces(crystal)
    for number in dict.fromkeys(numbers.tolist()):
        size = 120 * (atomic_radii()[number] / 1.5) ** 2
        images = coords[numbers == number] @ matrix
        axes.scatter(*images.T, s=size, color=jmol_colors[number], edgecolors="0.3", label=symbols()[number])
    axes.set_axis_off()
    axes.set_box_aspect(np.ptp(corners @ matrix, axis=0))
    axes.set_title(f"a = {crystal.lattice.a:.2f} Å", fontsize=9, y=1.0)
    style: dict[str, Any] = {"fontsize": 7, "frameon": False, "handletextpad": 0.0, "columnspacing": 0.6}
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.05), ncols=4, **style)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    return axes


def candidates(found: Sequence[Candidate], *, columns: int = 4, limit: int = 12) -> Any:
    """Draw the first candidates that have a crystal, side by side in a new figure.

    Args:
        found: The candidates.
        columns: Of the figure.
        limit: Candidates that are drawn at most.

    Returns:
        An array of the axes.

    Raises:
        InputError: if none has a crystal.
    """
    shown = [(each, each.structure) for each in found if each.structure is not None][:limit]
    if not shown:
        msg = "no candidate has a crystal, so there is nothing to draw"
        raise InputError(msg)
    import matplotlib.pyplot as plt

    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    figure = plt.figure(figsize=(2.6 * columns, 3.0 * rows), layout="constrained")
    drawn = np.empty(len(shown), dtype=object)
    for number, (candidate, crystal) in enumerate(shown):
        axes = structure(crystal, figure.add_subplot(rows, columns, number + 1, projection="3d"))
        axes.set_title(f"{candidate.index}: {candidate.formula}\na = {crystal.lattice.a:.2f} Å", fontsize=9)
        drawn[number] = axes
    return drawn


def density_slice(grid: np.ndarray, plane: int, axes: Axes | None = None) -> Axes:
    """Draw a plane of a voxel density, first axis to the right, second up.

    Args:
        grid: Shape (G, G, G).
        plane: Index along the third axis.
        axes: Where; new ones if None.

    Raises:
        InputError: if the grid is none, or has no such plane.
    """
    axes = given_or_new(axes, (3, 3))
    axes.imshow(_plane(grid, plane).T, origin="lower", cmap="magma")
    return _bare(axes)


def species_slice(species: np.ndarray, plane: int, axes: Axes | None = None) -> Axes:
    """Draw a plane of a species map in the colours of Jmol, each element's symbol where its patch is widest.

    Args:
        species: Atomic numbers, 0 for none, shape (G, G, G).
        plane: Index along the third axis.
        axes: Where; new ones if None.

    Raises:
        InputError: if the map is none, or has no such plane.
    """
    numbers = _plane(species, plane)
    axes = given_or_new(axes, (3, 3))
    axes.imshow(np.where((numbers.T > 0)[..., None], jmol_colors[numbers.T], 1.0), origin="lower")
    for symbol, x, y in species_labels(numbers):
        axes.text(x, y, symbol, ha="center", va="center", fontsize=8, color="black")
    return _bare(axes)


def species_labels(plane: np.ndarray) -> list[tuple[str, int, int]]:
    """Return the symbol of each element in a plane of a species map and the point where its patches are widest.

    Args:
        plane: Atomic numbers, shape (G, G).
    """
    labels = []
    for number in np.unique(plane[plane > 0]):
        depth = distance_transform_cdt(np.pad(plane == number, 1))[1:-1, 1:-1]
        x, y = np.unravel_index(int(depth.argmax()), depth.shape)
        labels.append((symbols()[number], int(x), int(y)))
    return labels


def _plane(grid: np.ndarray, plane: int) -> np.ndarray:
    grid = np.asarray(grid)
    if grid.ndim != 3 or not 0 <= plane < grid.shape[2]:
        msg = f"there is no plane {plane} in a grid of shape {grid.shape}; give one of its planes"
        raise InputError(msg)
    return grid[:, :, plane]


def _bare(axes: Axes) -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    return axes
