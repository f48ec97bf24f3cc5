"""Augmentation of crystals before they are drawn: exact on the arrays, so that no grid is ever interpolated."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.crystals import elements
from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, wrap, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_ATOMS = 24
"""Atoms of a distorted supercell at most."""

_MOST_DISPLACED = 0.3
"""Angstrom; the largest standard deviation of the displacements in a distorted supercell."""

_SIZE_RATIOS = (0.75, 1.35)
"""Bounds of what exchanged elements may do to the lengths of a cell."""

_REPEATS = ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 2, 1), (2, 1, 2), (1, 2, 2))


@dataclass(frozen=True)
class Augmentation:
    """What happens to each training crystal each time it is drawn.

    Attributes:
        permute_axes: Take the cell's axes in a random order.
        mirror: Invert every second crystal through the origin.
        translate: Move the crystal by a random vector (for models without a canonical origin).
        strain: Standard deviation of a random uniform strain of the cell.
        substitute: Share of crystals in which elements are exchanged for others. The copy keeps its prototype and
            takes the size that the atomic radii of the new elements suggest; it has no known property. It shows the
            networks every element on every kind of site, which the given crystals, a tiny part of chemistry, do not.
    """

    permute_axes: bool = True
    mirror: bool = True
    translate: bool = False
    strain: float = 0.02
    substitute: float = 0.5

    def __call__(
        self, batch: CrystalBatch, known: torch.Tensor, generator: torch.Generator
    ) -> tuple[CrystalBatch, torch.Tensor]:
        """Augment a batch.

        Args:
            batch: Crystals.
            known: Atomic numbers that may be put in, shape (E,).
            generator: Source of randomness, on the CPU.

        Returns:
            The new batch and whether each crystal still is the one given, shape (B,), boolean.
        """
        numbers, frac, lattice = batch.numbers, batch.frac_coords, batch.lattice
        count, device = len(batch), batch.lattice.device

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator).to(device)

        if self.permute_axes:
            order = uniform(count, 3).argsort(1)
            frac = frac.gather(2, order[:, None].expand_as(frac))
            lattice = lattice.gather(1, order[..., None].expand_as(lattice))
        if self.mirror:
            frac = torch.where((uniform(count) < 0.5)[:, None, None], -frac, frac)
        if self.translate:
            frac = frac + uniform(count, 1, 3)
        scale = torch.exp(self.strain * torch.randn(count, generator=generator).to(device))
        substituted = uniform(count) < self.substitute
        exchanged = _exchange(numbers, known, uniform(count, len(known)), uniform(count, len(known)))
        numbers = torch.where(substituted[:, None], exchanged, numbers)
        scale = scale * _size_ratio(batch.numbers, numbers)
        frac = wrap(frac) * batch.mask[..., None]
        return CrystalBatch(numbers, frac, lattice * scale[:, None, None]), ~substituted


def _exchange(numbers: torch.Tensor, known: torch.Tensor, keys: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Map the elements of each crystal by a random permutation of a random two thirds of the known ones."""
    moving = keep < 2 / 3
    order = keys.masked_fill(~moving, 2.0).argsort(1)  # the moving elements, in random order, come first
    slots = (~moving).to(torch.int8).argsort(dim=1, stable=True)  # the moving elements in their own order
    image = torch.empty_like(order).scatter_(1, slots, order)
    image = torch.where(moving, image, torch.arange(len(known), device=known.device))
    table = torch.arange(elements.N_CLASSES, device=known.device).repeat(len(numbers), 1)
    table[:, known] = known[image]
    return table.gather(1, numbers)


def _size_ratio(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return the ratio of summed atomic radii, kept within 0.75 and 1.35, for each crystal."""
    radii = torch.as_tensor(elements.atomic_radii().copy(), dtype=torch.float32, device=before.device)
    radii[0] = 0.0
    return (radii[after].sum(1) / radii[before].sum(1)).clamp(*_SIZE_RATIOS)


def size_ratio(before: np.ndarray, after: np.ndarray) -> float:
    """Return the ratio of the summed atomic radii of a crystal's new and old elements, kept within 0.75 and 1.35."""
    radii = elements.atomic_radii()
    return float(np.clip(radii[after].sum() / radii[before].sum(), *_SIZE_RATIOS))


def distorted_supercells(
    crystals: Sequence[CrystalArrays], count: int, longest: float, seed: int = 0
) -> list[CrystalArrays]:
    """Make crystals with more atoms than most have, and with atoms off their sites.

    Each is one of the given crystals, repeated along none, one or two of its axes, every atom moved at random. They
    need not exist; they show the networks cells of 6 to 24 atoms, which collections of simple crystals hardly have.

    Args:
        crystals: Primitive cells.
        count: How many to make.
        longest: Longest cell vector that the networks take, in angstrom.
        seed: Of everything random.
    """
    random = np.random.default_rng(seed)
    made: list[CrystalArrays] = []
    while len(made) < count:
        crystal = crystals[int(random.integers(len(crystals)))]
        repeats = np.array(_REPEATS[random.integers(len(_REPEATS))])
        lattice = crystal.lattice * repeats[:, None]
        size = len(crystal) * int(repeats.prod())
        if repeats.prod() > 1 and (size > _MOST_ATOMS or np.linalg.norm(lattice, axis=1).max() > longest):
            continue
        shifts = np.stack(np.meshgrid(*[np.arange(n) for n in repeats], indexing="ij"), -1).reshape(-1, 1, 3)
        frac_coords = ((crystal.frac_coords + shifts) / repeats).reshape(-1, 3)
        moved = random.uniform(0, _MOST_DISPLACED) * random.standard_normal((size, 3))
        frac_coords = wrapped(frac_coords + moved @ np.linalg.inv(lattice))
        made.append(CrystalArrays(np.tile(crystal.numbers, len(shifts)), frac_coords, lattice))
    return made


def recombined(crystals: Sequence[CrystalArrays], count: int, seed: int = 0) -> list[CrystalArrays]:
    """Make crystals of the elements of two: the sites of one, some of the elements of another of like composition.

    The elements of a crystal are put in order by how many atoms they have, then by electronegativity; two crystals with
    the same numbers can exchange any of them. The cell takes the size that the atomic radii suggest.

    Args:
        crystals: Primitive cells.
        count: How many to make; fewer come back if hardly any two crystals can exchange elements.
        seed: Of everything random.
    """
    random = np.random.default_rng(seed)
    roles = [_roles(crystal) for crystal in crystals]
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, (_, counts) in enumerate(roles):
        alike[counts].append(row)
    made: list[CrystalArrays] = []
    for _ in range(20 * count):
        if len(made) == count:
            break
        crystal_row = int(random.integers(len(crystals)))
        crystal, (own, counts) = crystals[crystal_row], roles[crystal_row]
        other = roles[alike[counts][int(random.integers(len(alike[counts])))]][0]
        new = np.where(random.random(len(own)) < 0.5, other, own)
        if np.array_equal(new, own) or len(np.unique(new)) < len(new):
            continue
        table = np.zeros(elements.N_CLASSES, dtype=np.int64)
        table[own] = new
        numbers = table[crystal.numbers]
        made.append(CrystalArrays(numbers, crystal.frac_coords, crystal.lattice * size_ratio(crystal.numbers, numbers)))
    return made


def _roles(crystal: CrystalArrays) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the elements of a crystal by number of atoms and electronegativity, and these numbers."""
    own, counts = np.unique(crystal.numbers, return_counts=True)
    order = np.lexsort((own, elements.electronegativities()[own], counts))
    return own[order], tuple(int(n) for n in counts[order])
