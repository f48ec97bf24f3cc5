"""Pictures of crystals and of the grids they were read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data.colors import jmol_colors
from matplotlib.figure import Figure

from icsg3d.crystals.elements import atomic_radii, symbols
from icsg3d.report.figures import save_figure
from icsg3d.report.folders import PICTURE_FILE, unique_structures

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D
    from pymatgen.core import Structure

    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.report.folders import CandidateFolder

_COLUMNS = 6


def draw_candidates(
    generator: CrystalGenerator, folder: CandidateFolder, latent: np.ndarray, condition: float | None = None
) -> None:
    """Draw the first different candidates of a folder: decoded density, species map and structure.

    Args:
        generator: What decoded them.
        folder: Where they are and the picture goes.
        latent: The latent vectors of all draws.
        condition: Formation energy asked for, in eV/atom.
    """
    shown = [(c, c.structure) for c in unique_structures(folder.candidates)[:_COLUMNS] if c.structure]
    if not shown:
        return
    grids = generator.decode_grids(latent[[c.index for c, _ in shown]], condition)
    heights = generator.network.config.voxels.axis()
    figure = Figure(figsize=(2.4 * len(shown) + 0.6, 7.6), layout="constrained")
    for column, (candidate, structure) in enumerate(shown):
        species = grids.species[column].numpy()
        plane = int((species > 0).sum((0, 1)).argmax())
        titles = ("density", "species map") if column == 0 else ("", "")
        axes = figure.add_subplot(3, len(shown), 1 + column)
        axes.imshow(grids.grid[column, 0, :, :, plane].numpy().T, origin="lower", cmap="magma")
        axes.set_title(f"{candidate.index}: {candidate.formula}\nplane at {heights[plane]:.2f} c", fontsize=10)
        _bare(axes, titles[0])
        axes = figure.add_subplot(3, len(shown), 1 + len(shown) + column)
        axes.imshow(_species_image(species[:, :, plane].T), origin="lower")
        _label_species(axes, species[:, :, plane])
        _bare(axes, titles[1])
        draw_structure(figure.add_subplot(3, len(shown), 1 + 2 * len(shown) + column, projection="3d"), structure)
    base = folder.candidates[0].base
    figure.suptitle(f"Candidates around {base}" if base else "Candidates", fontsize=12)
    save_figure(figure, folder.folder / PICTURE_FILE)


def _bare(axes: Any, label: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_ylabel(label)


def _species_image(numbers: np.ndarray) -> np.ndarray:
    return np.where((numbers > 0)[..., None], jmol_colors[numbers], 1.0)


def _label_species(axes: Any, plane: np.ndarray) -> None:
    """Write each element's symbol where its patches in a plane are widest."""
    from scipy.ndimage import distance_transform_cdt

    for number in np.unique(plane[plane > 0]):
        depth = distance_transform_cdt(np.pad(plane == number, 1))[1:-1, 1:-1]
        x, y = np.unravel_index(int(depth.argmax()), depth.shape)
        axes.text(x, y, symbols()[number], ha="center", va="center", fontsize=8)


def draw_structure(axes: Axes3D, structure: Structure) -> None:
    """Draw a unit cell with the atoms in it and on its faces."""
    matrix = structure.lattice.matrix
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    for start in corners:
        for end in corners:
            if (end - start).sum() == 1 and (end >= start).all():
                axes.plot(*np.array([start @ matrix, end @ matrix]).T, color="0.6", lw=0.8)
    for element in structure.composition.elements:
        sites = [site.frac_coords % 1.0 for site in structure if site.specie == element]
        images = _with_faces(np.array(sites)) @ matrix
        size = 120 * (atomic_radii()[element.Z] / 1.5) ** 2
        axes.scatter(*images.T, s=size, color=jmol_colors[element.Z], edgecolors="0.3", label=element.symbol)
    axes.set_axis_off()
    axes.set_box_aspect(np.ptp(corners @ matrix, axis=0))
    axes.set_title(f"a = {structure.lattice.a:.2f} Å", fontsize=9, y=1.0)
    axes.legend(loc="lower center", ncols=4, fontsize=7, frameon=False, handletextpad=0.0, columnspacing=0.6)


def _with_faces(frac_coords: np.ndarray) -> np.ndarray:
    """Return sites with their images on the opposite faces of the cell."""
    near = 0.06  # decoded atoms lie a little off the faces
    frac_coords = np.where(frac_coords > 1 - near, frac_coords - 1, frac_coords)
    images = [frac_coords]
    for axis in range(3):
        everything = np.concatenate(images)
        shift = np.zeros(3)
        shift[axis] = 1.0
        images = [everything, everything[everything[:, axis] < near] + shift]
    return np.concatenate(images)
