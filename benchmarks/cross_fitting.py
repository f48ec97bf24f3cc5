"""Uncertainties of held-out crystals, fitted to the errors on other held-out crystals.

The uncertainties of a property model are fitted to its errors on the formulas that are held out, so that shares within
one and two sigma of these crystals say little. Here each half of the formulas gets them from a fit to the other half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from icsg3d.data.compact_arrays import reduced_formula
from icsg3d.models.properties import transform
from icsg3d.models.uncertainty import Uncertainty
from icsg3d.refusals import usable
from icsg3d.representation.description import batch_of, describe
from icsg3d.training.uncertainty import fit_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.properties.predictor import PropertyPredictor

_CHUNK = 64


def cross_fitted_sigmas(
    predictor: PropertyPredictor,
    crystals: Sequence[CrystalArrays],
    true: np.ndarray,
    learned: np.ndarray,
    seed: int = 0,
) -> np.ndarray:
    """Return the uncertainties of crystals as multiples of those that the model gives, NaN where one is refused.

    Args:
        predictor: Of a model whose uncertainties depend on the crystal.
        crystals: All that its uncertainties were fitted to.
        true: Values in the property's unit, shape (n,).
        learned: Which crystals may be fitted to, shape (n,); suspect labels are judged all the same.
        seed: Of the halves.
    """
    known = cast("Uncertainty", predictor.model.uncertainty)
    pooled, means, spread = _outputs(predictor, crystals)
    good = torch.isfinite(means).numpy()
    values = transform(torch.as_tensor(true), predictor.property).numpy()
    errors = np.abs(values - means.double().numpy())
    names, group = np.unique([reduced_formula(crystal.numbers) for crystal in crystals], return_inverse=True)
    half = np.random.default_rng(seed).permutation(len(names))[group] % 2 == 0
    factors = np.full(len(crystals), np.nan)
    for part in (half, ~half):
        old, module = _copy(known), _copy(known)
        others, judged = ~part & good & learned, part & good
        fit_terms(module, pooled[others], spread[others], errors[others])
        with torch.no_grad():
            new, before = (each(pooled[judged], spread[judged])[0].numpy() for each in (module, old))
        factors[judged] = new / before
    return factors


def _copy(module: Uncertainty) -> Uncertainty:
    """Return the same in single precision."""
    copy = Uncertainty(module.config)
    copy.load_state_dict(module.state_dict())
    return copy


def _outputs(
    predictor: PropertyPredictor, crystals: Sequence[CrystalArrays]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return pooled features, means and spreads of the members on the learned scale, NaN where one is refused."""
    model = predictor.model
    pooled = torch.full((len(crystals), model.config.network.pooled), torch.nan)
    means, spread = torch.full((2, len(crystals)), torch.nan)
    order = np.argsort([len(crystal) for crystal in crystals], kind="stable")
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        taken = usable(rows, lambda row: describe(crystals[row], model.config.network.graph))
        if not taken.results:
            continue
        kept, batch = rows[taken.rows], batch_of(taken.results).to(predictor.device)
        with torch.no_grad():
            pooled[kept] = cast("Any", model.members[0]).embed(batch).float().cpu()
            means[kept], spread[kept] = (each.float().cpu() for each in model.transformed(batch))
    return pooled, means, spread
