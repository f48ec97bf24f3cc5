"""An ensemble of crystal-graph networks that predicts one property, in its unit and with an uncertainty."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import nn

from icsg3d.crystals.elements import MAX_NUMBER
from icsg3d.errors import InputError
from icsg3d.models.checkpoints import build, read_model, write_model
from icsg3d.models.crystal_graph import CrystalGraphConfig, CrystalGraphNet
from icsg3d.models.environment_net import EnvironmentNet, EnvironmentNetConfig
from icsg3d.models.targets import Property
from icsg3d.models.uncertainty import Uncertainty, UncertaintyConfig
from icsg3d.representation.graphs import GraphConfig
from icsg3d.representation.moments import EnvironmentConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from icsg3d.models.compact_weights import Bits
    from icsg3d.representation.environments import EnvironmentBatch
    from icsg3d.representation.graphs import GraphBatch

    Batch = GraphBatch | EnvironmentBatch

PROPERTY_FORMAT = "icsg3d-property-1"


_BEFORE_ENSEMBLES = {"disagreement": False}
"""What models of uncertainty do not say that were written before networks could disagree."""

NetworkConfig = CrystalGraphConfig | EnvironmentNetConfig
Network = CrystalGraphNet | EnvironmentNet


@dataclass(frozen=True)
class PropertyModelConfig:
    """What a property model predicts and how its networks' outputs become numbers with a unit.

    Attributes:
        property: What is predicted.
        network: Sizes of each network.
        members: Networks of the ensemble.
        mean: Of the transformed training values; a network's output 0.
        scale: Their standard deviation; a network's output 1.
        elements: Atomic numbers of the training crystals.
        spread_floor: Uncertainty where the members agree, on the transformed scale.
        spread_factor: Uncertainty per standard deviation of the members.
        uncertainty: Sizes of a model of uncertainty that is taken instead; None where there is none.
    """

    property: Property
    network: NetworkConfig = field(default_factory=CrystalGraphConfig)
    members: int = 1
    mean: float = 0.0
    scale: float = 1.0
    elements: tuple[int, ...] = ()
    spread_floor: float = 0.0
    spread_factor: float = 1.0
    uncertainty: UncertaintyConfig | None = None

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "members": (1, 64),
        "mean": (-1e30, 1e30),
        "scale": (-1e30, 1e30),
        "elements": (1, MAX_NUMBER),
        "spread_floor": (0, 1e30),
        "spread_factor": (0, 1e30),
    }

    def __post_init__(self) -> None:
        """Check the numbers, which may come from a file.

        Raises:
            InputError: if one of them is not finite or of the wrong kind.
        """
        numbers: tuple[Any, ...] = (self.mean, self.scale, self.spread_floor, self.spread_factor)
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            msg = f"scaling and calibration must be finite numbers, got {numbers}"
            raise InputError(msg)
        elements: Any = self.elements
        if not isinstance(elements, tuple) or not all(isinstance(number, int) for number in elements):
            msg = f"elements must be atomic numbers, got {self.elements!r}"
            raise InputError(msg)


class PropertyModel(nn.Module):
    """Networks of equal size, each trained from another seed.

    Args:
        config: What is predicted and how.
    """

    def __init__(self, config: PropertyModelConfig) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList([new_network(config.network) for _ in range(config.members)])
        self.uncertainty = None if config.uncertainty is None else Uncertainty(config.uncertainty)

    def transformed(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the members on the scale that is learned, each of shape (B,)."""
        return self._combined([member(batch) for member in self.members])

    def _combined(self, outputs: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the members' outputs on the scale that is learned."""
        values = torch.stack(outputs) * self.config.scale + self.config.mean
        return values.mean(0), values.std(0) if len(values) > 1 else torch.zeros_like(values[0])

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return values and standard uncertainties in the property's unit, each of shape (B,)."""
        values, sigmas, _ = self.assess(batch)
        return values, sigmas

    def assess(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return values and uncertainties, and which crystals are unlike all that was learned, each of shape (B,)."""
        if self.uncertainty is None:
            center, spread = self.transformed(batch)
            sigma = (self.config.spread_floor**2 + (self.config.spread_factor * spread).square()).sqrt()
            unlike = torch.zeros_like(center, dtype=torch.bool)
        else:
            first = cast("Any", self.members[0])
            pooled = first.embed(batch)
            center, spread = self._combined([first.head(pooled), *(member(batch) for member in self.members[1:])])
            sigma, unlike = self.uncertainty(pooled, spread)
        values, slope = untransform(center, self.config.property)
        if self.config.property.floor is not None:
            values = values.clamp(min=self.config.property.floor)
        return values, sigma * slope, unlike


def new_network(config: NetworkConfig) -> Network:
    """Return an untrained network of some sizes."""
    return EnvironmentNet(config) if isinstance(config, EnvironmentNetConfig) else CrystalGraphNet(config)


def transform(values: torch.Tensor, of: Property) -> torch.Tensor:
    """Return values of a property on the scale that is learned."""
    if of.transform == "log10":
        return values.log10()
    return values.log1p() if of.transform == "log1p" else values


def untransform(values: torch.Tensor, of: Property) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values in the property's unit, and by how much they change with the learned scale."""
    if of.transform == "log10":
        natural = 10.0**values
        return natural, natural * math.log(10)
    if of.transform == "log1p":
        return values.expm1(), values.exp()
    return values, torch.ones_like(values)


def save_property_model(model: PropertyModel, folder: Path, *, bits: Bits = 32) -> str:
    """Write a model into a folder and return the SHA-256 of its weights.

    Args:
        model: What is written.
        folder: Made if it does not exist.
        bits: Of a stored weight.
    """
    return write_model(folder, PROPERTY_FORMAT, dataclasses.asdict(model.config), {"model": model}, bits=bits)


def load_property_model(folder: Path) -> tuple[PropertyModel, str]:
    """Read what :func:`save_property_model` wrote: the model in evaluation mode, and the SHA-256 of its weights.

    Raises:
        InputError: if a file is missing, damaged, or does not fit the sizes.
    """
    networks, _, digest = read_model(folder, PROPERTY_FORMAT, property_networks)
    return cast("PropertyModel", networks["model"]), digest


def _network_config(values: Mapping[str, Any]) -> NetworkConfig:
    kinds = (CrystalGraphConfig, GraphConfig) if "convolution" in values else (EnvironmentNetConfig, EnvironmentConfig)
    made: NetworkConfig = build(kinds[0], dict(values) | {"graph": build(kinds[1], values["graph"])})
    return made


def property_networks(values: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Return the model of a configuration as ``dataclasses.asdict`` wrote it, its weights those it is made with."""
    network, uncertainty = dict(values["network"]), values.get("uncertainty")
    parts = {
        "property": build(Property, values["property"]),
        "network": _network_config(network),
        "uncertainty": None if uncertainty is None else build(UncertaintyConfig, _BEFORE_ENSEMBLES | uncertainty),
    }
    return {"model": PropertyModel(build(PropertyModelConfig, dict(values) | parts))}
