"""From crystals to latent Gaussians, in batches of one size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.models.decoding import BATCH
from icsg3d.models.vae import Posterior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.models.generator import GeneratorNetwork


@torch.no_grad()
def encode_posteriors(
    network: GeneratorNetwork, arrays: Sequence[CrystalArrays], bins: torch.Tensor, device: torch.device | None = None
) -> Posterior:
    """Return the posteriors of primitive cells with their condition bins, on the CPU."""
    parts = []
    for start in range(0, len(arrays), BATCH):
        chosen = list(arrays[start : start + BATCH])
        filled = chosen + [chosen[0]] * (BATCH - len(chosen))
        condition = torch.full((BATCH,), -1)
        condition[: len(chosen)] = bins[start : start + BATCH]
        posterior = network.encode(CrystalBatch.from_arrays(filled, device=device or "cpu"), condition.to(device))
        parts.append([tensor[: len(chosen)].cpu() for tensor in posterior])
    return Posterior(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
