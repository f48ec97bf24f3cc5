"""From a trained network to a model folder: weights, latent density, ids of the training crystals, card."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from icsg3d.crystals.structures import from_arrays
from icsg3d.files import sha256, write_atomically
from icsg3d.models.checkpoints import save_network
from icsg3d.models.compact_weights import GENERATOR_BITS, round_weights
from icsg3d.models.density import LatentDensity
from icsg3d.models.encoding import encode_posteriors
from icsg3d.models.environment_net import EnvironmentNetConfig
from icsg3d.models.generator import energy_bins
from icsg3d.models.properties import save_property_model
from icsg3d.models.volume import save_volume_model
from icsg3d.pretrained import CARD_FILE, write_training_crystals
from icsg3d.training.augment import recombined
from icsg3d.training.flow import Cloud, FlowOptions, fit_flow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.models.generator import GeneratorNetwork
    from icsg3d.models.properties import PropertyModel
    from icsg3d.training.data import CrystalSet, PropertySet

RECORD_FILE = "training.json"

_RECOMBINED = 4
"""Recombined crystals for each training crystal, from which the density learns which elements take which places."""


@dataclass(frozen=True)
class TrainingRecord:
    """How a model came about.

    Attributes:
        command: The exact command line.
        data: Name, role, SHA-256 and number of rows of each data file.
        options: Of the training.
        seconds: Wall time of the training, all runs together.
        machine: What it ran on.
        metrics: Shares on the validation crystals, by name.
    """

    command: str
    data: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any]
    seconds: float
    machine: str
    metrics: Mapping[str, float] = field(default_factory=dict)


def describe_file(path: Path, role: str, rows: int) -> dict[str, Any]:
    """Return name, role, SHA-256 and number of rows of a data file."""
    digest = sha256(path.read_bytes()) if path.is_file() else ""
    return {"name": path.name, "role": role, "sha256": digest, "rows": rows}


def pack_model(
    network: GeneratorNetwork,
    training: CrystalSet,
    folder: Path,
    record: TrainingRecord,
    notes: str = "",
    *,
    density: FlowOptions | None = None,
) -> str:
    """Write a model folder that :meth:`CrystalGenerator.from_pretrained` reads.

    Matrices of weights are stored in 8 bits, and the density of the latent space is that of the network as stored.

    Args:
        network: What is written; its weights are rounded in place.
        training: The crystals it learned from.
        folder: Made if it does not exist.
        record: How it came about; the time of fitting the density is added.
        notes: Markdown that follows in the card: use, licences, citations.
        density: How the density of the latent space is fitted.

    Returns:
        The SHA-256 of the weights.
    """
    round_weights(network, GENERATOR_BITS)
    bins = energy_bins(torch.as_tensor(training.energies), network.config.energy_edges)
    started = time.monotonic()
    fitted = fit_density(network, training.crystals, bins, density)
    record = replace(record, seconds=record.seconds + time.monotonic() - started)
    digest = save_network(network, folder, fitted.tensors(GENERATOR_BITS), bits=GENERATOR_BITS)
    formulas = [from_arrays(crystal).composition.reduced_formula for crystal in training.crystals]
    _write_papers(folder, training.ids, formulas, record, card(network, record, digest) + notes)
    return digest


def fit_density(
    network: GeneratorNetwork,
    crystals: Sequence[CrystalArrays],
    bins: torch.Tensor,
    options: FlowOptions | None = None,
) -> LatentDensity:
    """Fit the density of crystals in latent space, with their conditions and without.

    Args:
        network: In evaluation mode.
        crystals: Primitive cells.
        bins: Condition bin of each, negative where unknown.
        options: How to fit.
    """
    hidden = torch.full_like(bins, -1)
    clouds = {"unlabelled": _cloud(network, crystals, hidden)}
    if bool((bins >= 0).any()):
        clouds["labelled"] = _cloud(network, crystals, bins)
    made = recombined(crystals, _RECOMBINED * len(crystals))
    if made:
        clouds["recombined"] = _cloud(network, made, torch.full((len(made),), -1))
    flow = round_weights(fit_flow(clouds, network.config.vae.bins, options), GENERATOR_BITS)
    return LatentDensity.of(flow, clouds["unlabelled"].mean.numpy(), bins.numpy())


def _cloud(network: GeneratorNetwork, crystals: Sequence[CrystalArrays], bins: torch.Tensor) -> Cloud:
    mean, log_variance = encode_posteriors(network, crystals, bins)
    return Cloud(mean, (0.5 * log_variance).exp(), bins)


def pack_property_model(
    model: PropertyModel, training: PropertySet, folder: Path, record: TrainingRecord, notes: str = ""
) -> str:
    """Write a model folder that :meth:`icsg3d.properties.predictor.PropertyPredictor.from_pretrained` reads.

    Args:
        model: What is written, its weights in 16 bits.
        training: The crystals it learned from.
        folder: Made if it does not exist.
        record: How it came about.
        notes: Markdown that follows in the card: use, licences, citations.

    Returns:
        The SHA-256 of the weights.
    """
    digest = save_property_model(model, folder, bits=16)
    _write_papers(folder, training.ids, training.formulas, record, property_card(model, record, digest) + notes)
    return digest


def pack_volume_model(
    model: PropertyModel, training: PropertySet, folder: Path, record: TrainingRecord, notes: str = ""
) -> str:
    """Write a model folder that :meth:`icsg3d.properties.volume.VolumePredictor.from_pretrained` reads.

    Arguments and result are those of :func:`pack_property_model`; a crystal that is there twice is listed once.
    """
    digest = save_volume_model(model, folder, bits=16)
    crystals = dict(zip(training.ids, training.formulas, strict=True))
    text = property_card(model, record, digest) + notes
    _write_papers(folder, list(crystals), list(crystals.values()), record, text)
    return digest


def _write_papers(folder: Path, ids: Sequence[str], formulas: Sequence[str], record: TrainingRecord, text: str) -> None:
    """Write what goes with the weights: training crystals, record and card."""
    once = dict(zip(ids, formulas, strict=True))  # a crystal may be taken several times in an epoch
    write_training_crystals(folder, list(once), list(once.values()))
    write_atomically(folder / RECORD_FILE, json.dumps(vars(record), indent=1).encode())
    write_atomically(folder / CARD_FILE, text.encode())


def card(network: GeneratorNetwork, record: TrainingRecord, digest: str) -> str:
    """Return the card of a generator in Markdown."""
    config = network.config
    parameters = sum(p.numel() for p in network.parameters())
    summary = (
        f"Generator of crystals: {parameters:,} parameters, {config.voxels.grid}^3 voxels of the primitive cell, "
        f"latent space of {config.vae.latent} dimensions, {len(config.elements)} elements, cells up to "
        f"{config.max_length:g} angstrom. SHA-256 of the weights: `{digest}`."
    )
    return _card(summary, record, "share")


def property_card(model: PropertyModel, record: TrainingRecord, digest: str) -> str:
    """Return the card of a property model in Markdown."""
    config = model.config
    parameters = sum(p.numel() for p in model.parameters())
    network, networks = config.network, "1 network" if config.members == 1 else f"{config.members} networks"
    kind = "environments" if isinstance(network, EnvironmentNetConfig) else network.convolution
    unit = f" in {config.property.unit}" if config.property.unit else ""
    summary = (
        f"Predicts `{config.property.name}`{unit}: {config.property.description}. {networks} of "
        f"{network.layers} layers (`{kind}`, {network.width} features), {parameters:,} parameters together; "
        f"{len(config.elements)} elements. SHA-256 of the weights: `{digest}`."
    )
    return _card(summary, record, "value")


def _card(summary: str, record: TrainingRecord, metric: str) -> str:
    files = [f"| `{d['name']}` | {d['role']} | {d['rows']} | `{d['sha256']}` |" for d in record.data]
    metrics = [f"| {key} | {value:.4g} |" for key, value in record.metrics.items()]
    parts = [
        "# Model card",
        summary,
        "## Data",
        "\n".join(["| file | role | rows | SHA-256 |", "| --- | --- | --- | --- |", *files]),
        "The training crystals are listed in `training_crystals.csv.gz`.",
        "## Training",
        f"```console\n{record.command}\n```",
        f"{record.seconds / 3600:.2f} hours on {record.machine}. Options in full: `{RECORD_FILE}`.",
        "## Metrics",
        "\n".join([f"| on held-out crystals | {metric} |", "| --- | --- |", *metrics]),
        "",
    ]
    return "\n\n".join(parts)
