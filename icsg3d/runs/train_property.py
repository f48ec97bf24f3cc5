"""A complete training of a property model: from files of crystals with values to a packed model."""

from __future__ import annotations

import dataclasses
import logging
import platform
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from icsg3d.crystals.elements import N_CLASSES
from icsg3d.data import load_structures
from icsg3d.data.compact_arrays import read_compact
from icsg3d.data.tables import read_numbers
from icsg3d.data.targets import check_learnable, compact_property_set, held_out, property_set
from icsg3d.errors import InputError, Interrupted
from icsg3d.files import locked, saving
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.environment_net import EnvironmentNetConfig
from icsg3d.models.properties import PROPERTY_FORMAT, PropertyModelConfig, load_property_model
from icsg3d.models.targets import PROPERTIES, unknown_property
from icsg3d.pretrained import find
from icsg3d.pretrained.packing import TrainingRecord, describe_file, pack_property_model
from icsg3d.refusals import log_refused
from icsg3d.report.parity import draw_parity
from icsg3d.runs.config import RunConfig
from icsg3d.training.data import PropertySet
from icsg3d.training.ensembles import coverage, errors, train_ensemble
from icsg3d.training.properties import PropertyOptions, after_teachers, from_scratch, paper_transfer
from icsg3d.training.resuming import all_seconds
from icsg3d.training.uncertainty import cross_fitted, with_uncertainty

if TYPE_CHECKING:
    from icsg3d.models.environment_net import Pooling
    from icsg3d.models.properties import NetworkConfig, PropertyModel
    from icsg3d.models.targets import Property
    from icsg3d.representation.description import DescriptionConfig
    from icsg3d.training.properties import TrainingPhase

_log = logging.getLogger(__name__)

ENERGY = "formation_energy_per_atom"

_ONE_OF = 10
"""Without crystals to judge by, one formula of so many is held out."""


class Transfer(StrEnum):
    """How a model is made from another one."""

    PAPER = "paper"
    FINE_TUNE = "fine-tune"


class PropertyTrainingConfig(RunConfig):
    """Options of :func:`train_property`."""

    data: tuple[Path, ...] = Field(description="Crystals to learn from: dataframes, files or folders", min_length=1)
    target: str = Field(description="Column of the property")
    other_scale: tuple[Path, ...] = Field(
        (), description="Crystals whose values have other references: a constant per element is learned"
    )
    teacher: tuple[Path, ...] = Field(
        (), description="Crystals with pseudo-labels of another model: as other_scale, but not in the last epochs"
    )
    start: str | None = Field(None, description="Property model to start from (--from)")
    transfer: Transfer = Field(
        Transfer.FINE_TUNE, description="With a start: the paper's two phases, or fine-tuning of everything"
    )
    held_out: Path | None = Field(
        None, description="Crystals to judge by; without them, a tenth of the formulas is held out"
    )
    preset: str = Field("environments", description="Network: environments, gated, cgcnn or paper")
    width: int | None = Field(None, ge=1, description="Features of an atom, if not the preset's")
    layers: int | None = Field(None, ge=1, description="Graph convolutions, if not the preset's")
    degree: int | None = Field(
        None, ge=0, description="Highest degree of an environment's moments: 4, or with a start that of its networks"
    )
    members: int = Field(4, ge=1, description="Networks of the ensemble")
    epochs: int = Field(100, ge=1, description="Epochs of each network")
    batch_size: int = Field(64, ge=2, description="Crystals of a step")
    learning_rate: float = Field(2e-3, ge=1e-7, description="Highest learning rate")
    weight_decay: float = Field(1e-2, ge=0, description="Of AdamW")
    skip_bad_rows: bool = Field(False, description="Leave out rows whose value is missing or out of range")  # noqa: FBT003
    element_copies: int = Field(
        1, ge=1, description="How often an elemental crystal is taken in an epoch; above 1 none of them is held out"
    )
    left_out: Path | None = Field(
        None, description="Table with a column material_id: crystals that take no part, nor do those called ID-..."
    )
    unit: str = Field("", description="Unit of a property that the package does not know")
    notes: Path | None = Field(None, description="Markdown to add to the model card: use, licences, citations")
    seed: int = Field(0, description="Of everything random")
    jobs: int = Field(1, ge=1, description="Networks trained at the same time")
    accelerator: str = Field("auto", description="cpu, gpu or auto (Lightning's)")


@dataclass(frozen=True)
class TrainedProperty:
    """What came of a training.

    Attributes:
        folder: Of the model.
        picture: Of predicted against true values.
        target: The property.
        metrics: On the held-out crystals.
    """

    folder: Path
    picture: Path
    target: Property
    metrics: dict[str, float]

    def __str__(self) -> str:
        """Return the errors in a sentence."""
        unit = f" {self.target.unit}" if self.target.unit else ""
        return (
            f"mean absolute error {self.metrics['mae']:.4f}{unit} on {self.metrics['crystals']} held-out crystals "
            f"(predicting the median: {self.metrics['mae_of_median']:.4f})"
        )


def train_property(
    config: PropertyTrainingConfig, out: Path, *, command: str = "", resume: bool = False
) -> TrainedProperty:
    """Train a property model from scratch, or from the networks of another one.

    Args:
        config: What to train on, and how.
        out: Folder of checkpoints, log, ``config.yaml`` and, in ``model/``, the trained model.
        command: Command line that is recorded in the model card.
        resume: Take up an interrupted training.

    Raises:
        InputError: if an option or the data cannot be used.
        Interrupted: on Ctrl-C; the last whole epochs are kept.
    """
    goal = PROPERTIES.get(config.target) or dataclasses.replace(unknown_property(config.target), unit=config.unit)
    start = None if config.start is None else load_property_model(find(config.start, PROPERTY_FORMAT))[0]
    network = _network(config, start, goal)
    notes = "" if config.notes is None else config.notes.read_text()
    options = PropertyOptions(
        _phases(config, transfers=start is not None), config.batch_size, config.weight_decay, seed=config.seed
    )
    with saving(out):
        out.mkdir(parents=True, exist_ok=True)
    with locked(out), saving(out):
        training, judged, files = _load(config, goal, network.graph, out)
        check_learnable(training, goal, config.batch_size)
        _log.info("%d crystals to learn from, %d held out, %d networks", len(training), len(judged), config.members)
        if not resume:  # a --resume that is refused leaves the record as it was
            config.write(out)
        started = time.monotonic()
        try:
            model = train_ensemble(
                PropertyModelConfig(goal, network, config.members),
                training,
                judged,
                out,
                options,
                start=start,
                accelerator=config.accelerator,
                jobs=config.jobs,
                resume=resume,
            )
        except SystemExit as stop:  # so Lightning ends a training that was interrupted at the keyboard
            all_seconds(out, time.monotonic() - started, resume=resume)
            raise Interrupted(
                f"interrupted; {out} keeps the last whole epochs, repeat the command with --resume to continue"
            ) from stop
        model, shares = _calibrated(model, training, judged, config.seed)
        record = TrainingRecord(
            command=command,
            data=files,
            options=dataclasses.asdict(options),
            seconds=all_seconds(out, time.monotonic() - started, resume=resume),
            machine=platform.machine(),
            metrics={"crystals": len(judged), **errors(model, judged), **shares},
        )
        pack_property_model(model, training, out / "model", record, notes)
        draw_parity(model, judged, out / "parity.png")
        config.write(out)
    return TrainedProperty(out / "model", out / "parity.png", model.config.property, dict(record.metrics))


def _calibrated(
    model: PropertyModel, training: PropertySet, judged: PropertySet, seed: int
) -> tuple[PropertyModel, dict[str, float]]:
    """Return a model with its uncertainties, and how many held-out errors lie within them."""
    if not isinstance(model.config.network, EnvironmentNetConfig):
        return model, coverage(model, judged)
    model = with_uncertainty(model, training, judged, seed)
    return model, cross_fitted(model, judged)


def _network(config: PropertyTrainingConfig, start: PropertyModel | None, goal: Property) -> NetworkConfig:
    changes = {name: getattr(config, name) for name in ("width", "layers") if getattr(config, name) is not None}
    pooling: Pooling = "atomic" if goal.name == ENERGY else "crystal"
    if start is not None and (changes or config.preset not in {"gated", "environments"}):
        raise InputError("with --from the networks have the sizes they come with; leave out preset, width and layers")
    network: NetworkConfig
    if start is not None:
        network = start.config.network
    elif config.preset == "environments":
        network = EnvironmentNetConfig(**changes)
    else:
        network = CrystalGraphConfig.preset(config.preset, **changes)  # type: ignore[arg-type]
    if isinstance(network, EnvironmentNetConfig):
        degree = network.graph.degree if config.degree is None else config.degree
        return dataclasses.replace(network, pooling=pooling, graph=dataclasses.replace(network.graph, degree=degree))
    if config.degree is not None:
        raise InputError("only networks on environments have a degree; leave it out, or choose that preset")
    return network


def _phases(config: PropertyTrainingConfig, *, transfers: bool) -> tuple[TrainingPhase, ...]:
    if transfers and config.transfer is Transfer.PAPER:
        return paper_transfer(config.learning_rate)
    first = 1 + len(config.other_scale)
    teachers = tuple(range(first, first + len(config.teacher)))
    return from_scratch(config.epochs, config.learning_rate) + after_teachers(teachers, config.learning_rate)


def _load(
    config: PropertyTrainingConfig, goal: Property, graph: DescriptionConfig, out: Path
) -> tuple[PropertySet, PropertySet, list[dict[str, Any]]]:
    """Return crystals to learn from, crystals to judge by, and what is recorded of their files."""
    others = [*config.other_scale, *config.teacher]
    sources = [(path, 0) for path in config.data] + [(path, scale) for scale, path in enumerate(others, start=1)]
    roles = ["training"] * len(config.data) + ["other scale"] * len(config.other_scale)
    roles += ["teacher"] * len(config.teacher)
    sets = [_set(path, scale, goal, graph, out, config) for path, scale in sources]
    files = [describe_file(p, role, len(each)) for (p, _), role, each in zip(sources, roles, sets, strict=True)]
    everything = PropertySet.joined(sets)
    if config.left_out is not None:
        everything = _without_crystals(everything, config.left_out)
        files.append(describe_file(config.left_out, "left out", 0))
    if config.held_out is None:
        training, judged = _split(everything, config.element_copies)
    else:
        judged = _set(config.held_out, 0, goal, graph, out, config)
        training = _without(everything, set(judged.formulas))
        files.append(describe_file(config.held_out, "held out", len(judged)))
    return training, judged, files


def _set(
    path: Path, scale: int, goal: Property, graph: DescriptionConfig, out: Path, config: PropertyTrainingConfig
) -> PropertySet:
    if path.suffix == ".npz":
        made, skipped = compact_property_set(
            read_compact(path), goal, graph, scale=scale, source=path.name, cache=out / "graphs"
        )
        log_refused(_log, skipped)
        return made
    table = load_structures(path)
    log_refused(_log, table.skipped)
    made, skipped = property_set(
        table, goal, graph, scale=scale, skip_bad_rows=config.skip_bad_rows, cache=out / "graphs"
    )
    log_refused(_log, skipped)
    return made


def _split(everything: PropertySet, element_copies: int = 1) -> tuple[PropertySet, PropertySet]:
    """Return training and held-out crystals, by formula; those on other scales with such a formula are in neither."""
    own = everything.scales == 0
    apart = held_out(everything.formulas, _ONE_OF, own)
    learned = np.flatnonzero(~apart)
    if element_copies > 1:
        elemental = (everything.graphs.shares(N_CLASSES) > 0).sum(1) == 1
        apart &= ~elemental
        learned = np.concatenate([np.flatnonzero(~apart), *[np.flatnonzero(elemental & own)] * (element_copies - 1)])
    return everything.subset(learned), everything.subset(np.flatnonzero(apart & own))


def _without_crystals(everything: PropertySet, table: Path) -> PropertySet:
    """Return the crystals that a table does not name; a crystal called ID-1 goes with ID."""
    try:
        names = set(read_numbers(table)["material_id"])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{table} is no table with a column material_id of the crystals to leave out") from error
    rows = [row for row, name in enumerate(everything.ids) if not names.intersection(_beginnings(name))]
    _log.info("%d crystals are left out by %s", len(everything) - len(rows), table.name)
    return everything.subset(np.array(rows, dtype=int))


def _beginnings(name: str) -> list[str]:
    """Return a name and its beginnings before each hyphen."""
    parts = name.split("-")
    return ["-".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _without(everything: PropertySet, formulas: set[str]) -> PropertySet:
    """Return the crystals of other formulas: those that judge may not have been learned."""
    rows = np.array([row for row, formula in enumerate(everything.formulas) if formula not in formulas], dtype=int)
    if len(rows) < len(everything):
        _log.info("%d crystals have held-out formulas, and are left out", len(everything) - len(rows))
    return everything.subset(rows)
