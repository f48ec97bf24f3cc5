"""Augmentation of crystals before they are drawn: exact on the arrays, so that no grid is ever interpolated."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from icsg3d import elements
from icsg3d.arrays import CrystalBatch, wrap


@dataclass(frozen=True)
class Augmentation:
    """What happens to each training crystal each time it is drawn.

    Attributes:
        permute_axes: Take the cell's axes in a random order.
        mirror: Invert every second crystal through the origin.
        translate: Move the crystal by a random vector (for models without a canonical origin).
        strain: Standard deviation of a random uniform scaling of the cell.
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
    return (radii[after].sum(1) / radii[before].sum(1)).clamp(0.75, 1.35)
