"""Fit of a model of uncertainty to the errors on held-out crystals."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy.optimize import minimize

from icsg3d.errors import InputError
from icsg3d.models.properties import PropertyModel, transform
from icsg3d.models.uncertainty import Uncertainty, UncertaintyConfig

if TYPE_CHECKING:
    from icsg3d.models.properties import Network
    from icsg3d.training.data import PropertySet

_NORMAL = (0.6827, 0.9545)
"""Shares of a normal distribution within one and two standard deviations."""

_SAMPLE = 10_000
"""Training crystals from which the main directions are found."""

_FAMILIAR = 0.995
"""Share of the held-out crystals that are nearer than what counts as unlike all that was learned."""

_RIDGE = 1e-2
"""Holds the weights of the coordinates near zero."""


def with_uncertainty(
    model: PropertyModel, training: PropertySet, held_out: PropertySet, seed: int = 0
) -> PropertyModel:
    """Return the model with uncertainties that fit its errors on some crystals it did not learn from.

    Args:
        model: Of networks on environments.
        training: Crystals it learned from.
        held_out: Crystals it did not.
        seed: Of the sample of training crystals.
    """
    judged = _held_out(model, held_out)
    module = _located(model, training, seed)
    fit_terms(module, *judged)
    new = PropertyModel(dataclasses.replace(model.config, uncertainty=module.config))
    new.load_state_dict(model.state_dict() | {f"uncertainty.{k}": v for k, v in module.state_dict().items()})
    return new.eval()


def cross_fitted(model: PropertyModel, held_out: PropertySet, seed: int = 0) -> dict[str, float]:
    """Return the shares within one and two sigma, each half of the formulas judged by a fit to the other."""
    if model.uncertainty is None:
        msg = "the model has no uncertainties that depend on the crystal"
        raise InputError(msg)
    pooled, spread, errors = _held_out(model, held_out)
    names, group = np.unique(np.asarray(held_out.formulas), return_inverse=True)
    if len(names) < 2:
        return {}
    half = np.random.default_rng(seed).permutation(len(names))[group] % 2 == 0
    ratios = np.empty(len(errors))
    for part in (half, ~half):
        module = Uncertainty(model.uncertainty.config)
        module.load_state_dict(model.uncertainty.state_dict())
        fit_terms(module, pooled[~part], spread[~part], errors[~part])
        with torch.no_grad():
            ratios[part] = errors[part] / module(pooled[part], spread[part])[0].numpy()
    return {"within_one_sigma": float((ratios <= 1).mean()), "within_two_sigma": float((ratios <= 2).mean())}


def fit_terms(module: Uncertainty, pooled: torch.Tensor, spread: torch.Tensor, errors: np.ndarray) -> None:
    """Set offset, slopes and weights, in place, so that they describe absolute errors.

    They have the greatest likelihood under a Laplace distribution, which a few wrong labels do not rule; then the
    offset is moved so that the shares within one and two sigma are those of a normal distribution, as nearly as the
    longer tails of the errors allow.

    Args:
        module: What is fitted.
        pooled: Features of the crystals, shape (n, features).
        spread: Standard deviation of the networks on the learned scale, shape (n,).
        errors: Absolute errors on the learned scale, shape (n,).
    """
    if module.config.disagreement:
        module.spread_floor.fill_(max(0.1 * float(spread.median()), 1e-6))
    with torch.no_grad():
        growing, bounded = (t.double().numpy() for t in module.terms(pooled, spread))
    scale = max(float(np.median(errors)), 1e-12)
    size = errors / scale
    terms = np.concatenate([np.ones((len(size), 1)), growing, bounded], axis=1)
    free = 1 + growing.shape[1]

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        logs = terms @ x
        ratio = size * np.exp(-logs)
        gradient = terms.T @ ((1.0 - ratio) / len(size))
        gradient[free:] += 2 * _RIDGE * x[free:]
        return float((ratio + logs).mean() + _RIDGE * np.square(x[free:]).sum()), gradient

    limits = [(None, None), *[(0.0, None)] * growing.shape[1], *[(None, None)] * bounded.shape[1]]
    found = minimize(cost, np.zeros(terms.shape[1]), jac=True, method="L-BFGS-B", bounds=limits).x
    shift = np.log(_factor(size * np.exp(-terms @ found)) * scale)
    module.offset.fill_(float(found[0] + shift))
    module.slope.fill_(float(found[1]))
    if module.config.disagreement:
        module.spread_slope.fill_(float(found[2]))
    module.weights.copy_(torch.as_tensor(found[free:], dtype=module.weights.dtype))
    with torch.no_grad():
        module.limit.fill_(float(torch.quantile(module.distance(module.coordinates(pooled)), _FAMILIAR)))


def _factor(ratios: np.ndarray) -> float:
    """Return the factor of sigma at which the shares within one and two sigma are nearest to a normal distribution's.

    Args:
        ratios: Errors as multiples of their sigmas, shape (n,).
    """
    factors = np.maximum(np.quantile(ratios, np.linspace(0.5, 0.9, 401)), 1e-12)
    ordered = np.sort(ratios)
    shares = [np.searchsorted(ordered, sigmas * factors, side="right") / len(ratios) for sigmas in (1, 2)]
    misses = sum(np.square(share - normal) for share, normal in zip(shares, _NORMAL, strict=True))
    return float(factors[np.argmin(misses)])


def _held_out(model: PropertyModel, crystals: PropertySet) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Return pooled features, spread of the members and absolute errors, the last two on the learned scale."""
    with torch.no_grad():
        parts = [model.transformed(batch) for batch in crystals.graphs.batches()]
    means, spreads = (torch.cat(each) for each in zip(*parts, strict=True))
    true = transform(torch.as_tensor(crystals.values), model.config.property).numpy()
    return _pooled(model, crystals), spreads, np.abs(true - means.double().numpy())


def _located(model: PropertyModel, training: PropertySet, seed: int) -> Uncertainty:
    """Return a module that knows where the training crystals lie."""
    random = np.random.default_rng(seed)
    own = np.flatnonzero(training.scales == 0)
    rows = np.sort(random.permutation(own)[:_SAMPLE])
    pooled = _pooled(model, training.subset(rows))
    sizes = UncertaintyConfig(pooled.shape[1], disagreement=model.config.members > 1)
    directions = min(sizes.directions, len(pooled) - 1, pooled.shape[1])
    module = Uncertainty(dataclasses.replace(sizes, directions=directions, references=min(sizes.references, len(rows))))
    centred = (pooled - pooled.mean(0)).double()
    _, values, vectors = torch.linalg.svd(centred, full_matrices=False)
    spread = (values[:directions] / len(pooled) ** 0.5).clamp(min=1e-6)
    module.centre.copy_(pooled.mean(0))
    module.directions.copy_((vectors[:directions].T / spread).float())
    chosen = torch.from_numpy(random.permutation(len(pooled))[: module.config.references])
    module.references.copy_(module.coordinates(pooled[chosen]))
    return module


def _pooled(model: PropertyModel, crystals: PropertySet) -> torch.Tensor:
    first = cast("Network", model.members[0])
    with torch.no_grad():
        return torch.cat([first.embed(cast("Any", batch)) for batch in crystals.graphs.batches()])
