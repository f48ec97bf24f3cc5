"""What the page takes from the generator: planes of the decoded grids, and the map of latent space."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from ase.data.colors import jmol_colors
from PIL import Image

from icsg3d.crystals.structures import structure_from_dict
from icsg3d.errors import InputError
from icsg3d.generation.candidates import Draws
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.plot.crystals import species_labels
from icsg3d.report.folders import unique_structures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from icsg3d.generation.candidates import Candidate

_REFERENCE = 400
"""Draws from the density of the training crystals that stand for them in the map of latent space."""

_MAPPED = 5000
"""Draws that are made again for the map; of a larger run it has only those whose grids are shown."""


@dataclass(frozen=True)
class LatentPoints:
    """Vectors in latent space.

    Attributes:
        candidates: Of all draws, shape (n, latent).
        reference: Draws that follow the training crystals, shape (m, latent).
        base: Of the crystal they were drawn around, shape (1, latent); None for free draws.
    """

    candidates: np.ndarray
    reference: np.ndarray
    base: np.ndarray | None


@dataclass(frozen=True)
class Decodings:
    """What a generator tells of candidates again.

    Attributes:
        sprites: Planes of density and species map for the script, by the candidate's index.
        latent: Their vectors; None where they are not known.
    """

    sprites: Mapping[int, Mapping[str, Any]]
    latent: LatentPoints | None


def decode_again(
    settings: Mapping[str, Any], candidates: Sequence[Candidate], count: int, device: str = "cpu"
) -> Decodings:
    """Draw the latent vectors of a run again and decode the grids of its first different candidates.

    Args:
        settings: Of the run, as in ``run.json``.
        candidates: All of it.
        count: Candidates whose grids are decoded, 32 at most.
        device: Where the networks run.

    Raises:
        InputError: if the settings do not say how the draws were made, or the model is not here, another one, or one
            without latent vectors.
    """
    try:
        name, digest, seed = str(settings["model"]), str(settings["model_sha256"]), int(settings["seed"])
        scale, condition, base = settings["scale"], settings["condition"], settings["base_structure"]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"run.json does not say how the draws were made ({error} is missing)"
        raise InputError(msg) from error
    generator = CrystalGenerator.from_pretrained(name, device)
    if generator.digest != digest:
        msg = f"the model {name} that is here has other weights than the one that made the candidates"
        raise InputError(msg)
    vectors = generator.vectors
    structure = None if base is None else structure_from_dict(base)
    placed = None if structure is None else generator.placed(structure)

    def drawn(first: int, n: int) -> np.ndarray:
        own = {"scale": scale or 0.8, "condition": condition, "seed": seed, "first": first}
        return np.asarray(Draws.make(generator, placed, n, **own).latent)

    n = 1 + max(candidate.index for candidate in candidates)
    shown = [each.index for each in unique_structures(candidates)[:count]]
    some = shown if n > _MAPPED else []  # draws depend on their number alone, so any of them can be made on its own
    latent = np.concatenate([drawn(number, 1) for number in some]) if some else drawn(0, min(n, _MAPPED))
    reference = vectors.density.sample(_REFERENCE, -1, seed)
    points = LatentPoints(latent, reference, None if placed is None else placed.latent[None])
    if not shown:
        return Decodings({}, points)
    grids = vectors.grids(latent if some else latent[shown], generator.bins(condition, len(shown)))
    sprites = {index: sprite(grids.grid[row, 0].numpy(), grids.species[row].numpy()) for row, index in enumerate(shown)}
    return Decodings(sprites, points)


def sprite(density: np.ndarray, species: np.ndarray) -> dict[str, Any]:
    """Return the planes of a density and a species map, one below the other, as two PNG pictures.

    Args:
        density: Shape (G, G, G).
        species: Atomic numbers, same shape.

    Returns:
        ``size`` G, ``density`` and ``species`` as data URLs, ``labels`` for each plane: symbol, column and row from the
        top left, ``plane`` with the most atoms, and ``range`` of the density.
    """
    low, high = float(density.min()), float(density.max())
    levels = np.round(255 * (density - low) / max(high - low, 1e-12)).astype(np.uint8)
    magma = np.round(255 * mpl.colormaps["magma"](np.arange(256))[:, :3]).astype(np.uint8)
    jmol = np.full((256, 3), 255, dtype=np.uint8)
    jmol[1 : len(jmol_colors)] = np.round(255 * jmol_colors[1:]).astype(np.uint8)
    size = len(density)
    labels = [
        [[symbol, x, size - 1 - y] for symbol, x, y in species_labels(species[:, :, plane])] for plane in range(size)
    ]
    return {
        "size": size,
        "density": _png(levels, magma),
        "species": _png(species.astype(np.uint8), jmol),
        "labels": labels,
        "plane": int((species > 0).sum((0, 1)).argmax()),
        "range": [round(low, 4), round(high, 4)],
    }


def _png(values: np.ndarray, palette: np.ndarray) -> str:
    """Return planes of the third axis below each other, first axis to the right and second up, as a data URL."""
    rows = values.transpose(2, 1, 0)[:, ::-1].reshape(-1, values.shape[0])
    picture = Image.fromarray(np.ascontiguousarray(rows), mode="P")
    picture.putpalette(palette.ravel().tolist())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
