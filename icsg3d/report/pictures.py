"""The picture of a folder of candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from icsg3d import plot
from icsg3d.report.figures import save_figure
from icsg3d.report.folders import PICTURE_FILE, unique_structures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from icsg3d.generation.candidates import Candidate
    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.report.folders import CandidateFolder

_COLUMNS = 6


def shown_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the different candidates that the picture shows."""
    return list(unique_structures(candidates)[:_COLUMNS])


def draw_candidates(
    generator: CrystalGenerator,
    folder: CandidateFolder,
    candidates: Sequence[Candidate],
    latent: Mapping[int, Any],
    condition: float | None = None,
) -> None:
    """Draw the first different candidates of a folder: decoded density, species map and structure.

    Args:
        generator: What decoded them.
        folder: Where the picture goes.
        candidates: In the order in which they are drawn.
        latent: The latent of each by its number.
        condition: Formation energy asked for, in eV/atom.
    """
    shown = [(c, c.structure) for c in shown_first(candidates) if c.structure]
    if not shown:
        return
    maps = generator.decode_maps([latent[c.index] for c, _ in shown], condition)
    figure = Figure(figsize=(2.4 * len(shown) + 0.6, 7.6), layout="constrained")
    for column, ((candidate, structure), decoded) in enumerate(zip(shown, maps, strict=True)):
        species = decoded.species
        plane = int((species > 0).sum((0, 1)).argmax())
        titles = ("density", "species map") if column == 0 else ("", "")
        axes = figure.add_subplot(3, len(shown), 1 + column)
        plot.density_slice(decoded.density, plane, axes)
        axes.set_title(f"{candidate.index}: {candidate.formula}\nplane at {decoded.heights[plane]:.2f} c", fontsize=10)
        axes.set_ylabel(titles[0])
        axes = plot.species_slice(species, plane, figure.add_subplot(3, len(shown), 1 + len(shown) + column))
        axes.set_ylabel(titles[1])
        plot.structure(structure, figure.add_subplot(3, len(shown), 1 + 2 * len(shown) + column, projection="3d"))
    base = shown[0][0].base
    figure.suptitle(f"Candidates around {base}" if base else "Candidates", fontsize=12)
    save_figure(figure, folder.folder / PICTURE_FILE)
