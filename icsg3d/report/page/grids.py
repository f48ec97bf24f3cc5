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
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.grid_space import GridSpace
from icsg3d.generation.sources import LatentDraws
from icsg3d.generation.spaces import VectorSpace
from icsg3d.models.density import SCALE
from icsg3d.models.grid_decoding import encode_crystal
from icsg3d.plot.crystals import species_labels
from icsg3d.progress import track
from icsg3d.refusals import usable
from icsg3d.report.folders import unique_structures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Structure

    from icsg3d.generation.candidates import Candidate
    from icsg3d.generation.spaces import DecodedMap
    from icsg3d.models.grid_decoding import LatentGrid

_REFERENCE = 400
"""Draws from the density of the training crystals that stand for them in the map of latent space."""

_MAPPED = 5000
"""Draws that are made again for the map; of a larger run it has only those whose grids are shown."""

_ENCODED = 100
"""Candidates, and training crystals beside them, that are encoded for the map where latents are grids."""


@dataclass(frozen=True)
class LatentPoints:
    """Vectors in latent space.

    Attributes:
        candidates: Shape (n, latent).
        reference: Of the training crystals, or draws that follow them, shape (m, latent).
        base: Of the crystal that the candidates were drawn around, shape (1, latent); None for free draws.
        reference_name: What the reference is.
        note: What a point stands for, in a sentence or two.
    """

    candidates: np.ndarray
    reference: np.ndarray
    base: np.ndarray | None
    reference_name: str
    note: str


@dataclass(frozen=True)
class Decodings:
    """What a generator tells of candidates again.

    Attributes:
        sprites: Planes of density and species map for the script, by the candidate's index.
        latent: The map of latent space; None where the run is not known, or no candidate can be encoded.
    """

    sprites: Mapping[int, Mapping[str, Any]]
    latent: LatentPoints | None


def decode_again(
    settings: Mapping[str, Any],
    candidates: Sequence[Candidate],
    count: int,
    device: str = "cpu",
    generator: CrystalGenerator | None = None,
) -> Decodings:
    """Draw the latents of a run again and decode the grids of its first different candidates.

    Args:
        settings: Of the run, as in ``run.json``.
        candidates: All of it.
        count: Candidates whose grids are decoded, 32 at most.
        device: Where the networks run.
        generator: The one that made them, if it is at hand.

    Raises:
        InputError: if the settings do not say how the draws were made, or the model is not here or another one.
    """
    try:
        name, digest, seed = str(settings["model"]), str(settings["model_sha256"]), int(settings["seed"])
        scale, condition, base = settings["scale"], settings["condition"], settings["base_structure"]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"run.json does not say how the draws were made ({error} is missing)"
        raise InputError(msg) from error
    generator = generator or CrystalGenerator.from_pretrained(name, device)
    if generator.digest != digest:
        msg = f"the model {name} that is here has other weights than the one that made the candidates"
        raise InputError(msg)
    structure = None if base is None else structure_from_dict(base)
    n = 1 + max(candidate.index for candidate in candidates)
    source = LatentDraws(
        generator,
        structure,
        n,
        scale=scale or SCALE,
        condition=condition,
        seed=seed,
        within=settings.get("within"),
        widening=bool(settings.get("widening")),
    )
    different = unique_structures(candidates)
    shown = [each.index for each in different[:count]]
    space = generator.space
    if isinstance(space, VectorSpace) and (n <= _MAPPED or not shown):
        drawn = source.latents(min(n, _MAPPED))
        latents = [drawn[number] for number in shown]
    else:  # draws depend on their number alone, so any of them can be made on its own
        latents = drawn = [source.draws(number, 1).latent[0] for number in shown]
    maps = generator.decode_maps(latents, condition) if shown else []
    sprites = {index: sprite(each) for index, each in zip(shown, maps, strict=True)}
    points = None
    if isinstance(space, VectorSpace):
        points = _drawn_points(space, source, drawn)
    elif isinstance(space, GridSpace):
        structures = [each.structure for each in different[:_ENCODED] if each.structure is not None]
        points = _encoded_points(generator, space, source, structures)
    return Decodings(sprites, points)


def _drawn_points(space: VectorSpace, source: LatentDraws, drawn: Sequence[np.ndarray]) -> LatentPoints:
    """Return some draws in latent space, beside draws from the density and the base."""
    base = None if source.base is None else source.base.latent[None]
    return LatentPoints(
        np.asarray(drawn),
        space.density.sample(_REFERENCE, -1, source.seed),
        base,
        "follow the training crystals",
        f"The small points are {_REFERENCE} draws from the density that was fitted to the training crystals; the model "
        "does not keep the crystals themselves.",
    )


def _encoded_points(
    generator: CrystalGenerator, space: GridSpace, source: LatentDraws, structures: Sequence[Structure]
) -> LatentPoints | None:
    """Return candidates as they are now, encoded, beside training crystals and the base; None if none can be."""
    arrays = [cell for cell, _ in usable(structures, generator.prepare).results]
    if not arrays:
        return None
    known = space.networks.known
    rows = np.random.default_rng(source.seed).choice(len(known), min(_ENCODED, len(known)), replace=False)
    told = track([*arrays, *(known.crystal(row) for row in rows)], "mapping latent space")
    vectors = np.stack([grid_vector(encode_crystal(space.vae, cell, space.device)) for cell in told])
    return LatentPoints(
        vectors[: len(arrays)],
        vectors[len(arrays) :],
        None if source.base is None else grid_vector(source.base.latent)[None],
        "training crystals",
        "A point is the mean and the spread of each channel over a crystal's latent grid, the same wherever the cell "
        f"begins. The small points are {len(rows)} training crystals, chosen at random.",
    )


def grid_vector(latent: LatentGrid) -> np.ndarray:
    """Return the mean and the standard deviation of each channel over the blocks of a grid, shape (2 * latent,)."""
    blocks = latent.grid.reshape(-1, latent.grid.shape[-1])
    return np.concatenate([blocks.mean(0), blocks.std(0)])


def sprite(decoded: DecodedMap) -> dict[str, Any]:
    """Return the planes of a density and a species map, one below the other, as two PNG pictures.

    Args:
        decoded: On a grid of shape (X, Y, Z).

    Returns:
        ``shape`` X, Y, Z, ``density`` and ``species`` as data URLs, ``labels`` for each plane: symbol, column and row
        from the top left, ``plane`` with the most atoms, and ``range`` of the density.
    """
    density, species = decoded.density, decoded.species
    low, high = float(density.min()), float(density.max())
    levels = np.round(255 * (density - low) / max(high - low, 1e-12)).astype(np.uint8)
    magma = np.round(255 * mpl.colormaps["magma"](np.arange(256))[:, :3]).astype(np.uint8)
    jmol = np.full((256, 3), 255, dtype=np.uint8)
    jmol[1 : len(jmol_colors)] = np.round(255 * jmol_colors[1:]).astype(np.uint8)
    _, rows, planes = density.shape
    labels = [
        [[symbol, x, rows - 1 - y] for symbol, x, y in species_labels(species[:, :, plane])] for plane in range(planes)
    ]
    return {
        "shape": list(density.shape),
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
