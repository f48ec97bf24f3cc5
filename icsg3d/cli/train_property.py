"""``icsg3d train property`` and ``icsg3d train import-cgcnn``."""

from __future__ import annotations

import dataclasses
import platform
import shlex
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icsg3d.cli.console import ResumeOption, all_seconds, check_accelerator, fail, progress_bar, report_skipped, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.models.properties import PropertyModel
    from icsg3d.models.targets import Property
    from icsg3d.representation.graphs import GraphConfig
    from icsg3d.training.data import PropertySet
    from icsg3d.training.properties import Phase


class Transfer(StrEnum):
    """How a model is made from another one."""

    PAPER = "paper"
    FINE_TUNE = "fine-tune"


def property_(
    data: Annotated[list[Path], typer.Option(help="Crystals to learn from: dataframe, file or folder; repeatable.")],
    target: Annotated[str, typer.Option(help="Column of the property.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, log and, in model/, the trained model.")],
    other_scale: Annotated[
        list[Path] | None,
        typer.Option(
            help="Crystals whose values have other references: a constant per element is learned; repeatable."
        ),
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            help="Crystals labelled by another model: as --other-scale, but not in the last epochs; repeatable."
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="NAME|PATH", help="Property model to start from.")
    ] = None,
    transfer: Annotated[
        Transfer, typer.Option(help="With --from: the paper's two phases, or fine-tuning of everything.")
    ] = Transfer.FINE_TUNE,
    held_back: Annotated[
        Path | None, typer.Option(help="Crystals to judge by. Without it, a tenth of the formulas is kept back.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Network: gated, cgcnn or paper.")] = "gated",
    width: Annotated[int | None, typer.Option(min=1, help="Features of an atom, if not the preset's.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Graph convolutions, if not the preset's.")] = None,
    members: Annotated[int, typer.Option(min=1, help="Networks of the ensemble.")] = 4,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each network.")] = 100,
    batch_size: Annotated[int, typer.Option(min=2, help="Crystals of a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(min=1e-7, help="Highest learning rate.")] = 2e-3,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of AdamW.")] = 1e-2,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Leave out rows whose value is missing or out of range.")
    ] = False,
    unit: Annotated[str, typer.Option(help="Unit of a property that the package does not know.")] = "",
    notes: Annotated[
        Path | None, typer.Option(help="Markdown to add to the model card: use, licences, citations.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Networks trained at the same time.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu or auto (Lightning's).")] = "auto",
    resume: ResumeOption = False,
) -> None:
    """Train a property model from scratch, or from the networks of another one.

    **Examples**

        icsg3d train property --data crystals.json.gz --target formation_energy_per_atom --out runs/energy

        icsg3d train property --data gaps.json.gz --target band_gap --from formation_energy_per_atom --out runs/gap
    """
    from icsg3d.data.targets import check_learnable, kept_back
    from icsg3d.errors import InputError
    from icsg3d.models.crystal_graph import CrystalGraphConfig
    from icsg3d.models.properties import PropertyModelConfig
    from icsg3d.models.targets import PROPERTIES, unknown_property
    from icsg3d.pretrained.packing import describe_file
    from icsg3d.properties.predictor import PropertyPredictor

    try:
        from icsg3d.training.ensembles import train_ensemble
        from icsg3d.training.properties import PropertyOptions
    except ImportError as error:
        raise InputError(f"training needs {error.name}; install it with pip install 'icsg3d[train]'") from error

    goal = PROPERTIES.get(target) or dataclasses.replace(unknown_property(target), unit=unit)
    begin = None if start is None else PropertyPredictor.from_pretrained(start).model
    changes = {name: value for name, value in (("width", width), ("layers", layers)) if value is not None}
    if begin is not None and (changes or preset != "gated"):
        raise InputError(
            "with --from the networks have the sizes they come with; leave out --preset, --width, --layers"
        )
    try:
        network = CrystalGraphConfig.preset(preset, **changes) if begin is None else begin.config.network  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(f"{error}; choose one with --preset") from error
    check_accelerator(accelerator)
    text = "" if notes is None else notes.read_text()
    others = [*(other_scale or []), *(teacher or [])]
    sources = [(path, 0) for path in data] + [(path, scale) for scale, path in enumerate(others, start=1)]
    teachers = tuple(range(1 + len(others) - len(teacher or []), 1 + len(others)))
    phases = _phases(transfer if begin is not None else None, epochs, learning_rate, teachers)
    options = PropertyOptions(phases, batch_size, weight_decay, seed=seed)
    sets = _load(sources, goal, network.graph, out, skip_bad_rows=skip_bad_rows)
    training, judged = _split(sets, kept_back)
    if held_back is not None:
        judged = _load([(held_back, 0)], goal, network.graph, out, skip_bad_rows=skip_bad_rows)[0]
        training = _without(_joined(sets), set(judged.formulas))
    check_learnable(training, goal, batch_size)
    say(f"{len(training)} crystals to learn from, {len(judged)} kept back, {members} networks")
    started = time.monotonic()
    try:
        with progress_bar() as bar:
            task = bar.add_task("epochs", total=members * sum(phase.epochs for phase in phases))
            model = train_ensemble(
                PropertyModelConfig(goal, network, members),
                training,
                judged,
                out,
                options,
                start=begin,
                accelerator=accelerator,
                jobs=jobs,
                resume=resume,
                report=lambda: bar.advance(task),
            )
    except SystemExit:  # so Lightning ends a training that was interrupted at the keyboard
        all_seconds(out, time.monotonic() - started, resume=resume)
        fail(f"interrupted; {out} keeps the last whole epochs, repeat the command with --resume to go on", code=130)
    roles = ["training"] * len(data) + ["other scale"] * len(other_scale or []) + ["teacher"] * len(teacher or [])
    files = [describe_file(p, role, len(each)) for (p, _), role, each in zip(sources, roles, sets, strict=True)]
    if held_back is not None:
        files.append(describe_file(held_back, "kept back", len(judged)))
    seconds = all_seconds(out, time.monotonic() - started, resume=resume)
    _finish(model, training, judged, out, options, seconds, files, text)


def _phases(
    transfer: Transfer | None, epochs: int, learning_rate: float, teachers: tuple[int, ...]
) -> tuple[Phase, ...]:
    from icsg3d.training.properties import after_teachers, from_scratch, paper_transfer

    if transfer is Transfer.PAPER:
        return paper_transfer(learning_rate)
    return from_scratch(epochs, learning_rate) + after_teachers(teachers, learning_rate)


def _load(
    sources: Sequence[tuple[Path, int]], goal: Property, graph: GraphConfig, out: Path, *, skip_bad_rows: bool
) -> list[PropertySet]:
    from icsg3d.data import load_structures
    from icsg3d.data.targets import property_set

    sets = []
    for path, scale in sources:
        table = load_structures(path)
        report_skipped(table.skipped)
        with progress_bar() as bar:
            task = bar.add_task(f"graphs of {path.name}", total=len(table))
            made, skipped = property_set(
                table,
                goal,
                graph,
                scale=scale,
                skip_bad_rows=skip_bad_rows,
                cache=out / "graphs",
                report=lambda: bar.advance(task),  # noqa: B023 (called before the next source)
            )
        report_skipped(skipped)
        sets.append(made)
    return sets


def _joined(sets: Sequence[PropertySet]) -> PropertySet:
    from icsg3d.training.data import PropertySet

    return PropertySet.joined(sets)


def _split(sets: Sequence[PropertySet], kept_back: Any) -> tuple[PropertySet, PropertySet]:
    """Return training and kept-back crystals, by formula; those on other scales with such a formula are in neither."""
    import numpy as np

    everything = _joined(sets)
    apart = np.array([kept_back(formula) for formula in everything.formulas])
    own = everything.scales == 0
    if not (apart & own).any() or not (~apart & own).any():  # a handful of formulas
        names = sorted(set(np.asarray(everything.formulas)[own]))
        chosen = set(names[:: max(2, min(10, len(names)))])
        apart = np.array([formula in chosen for formula in everything.formulas])
    return everything.subset(np.flatnonzero(~apart)), everything.subset(np.flatnonzero(apart & own))


def _without(everything: PropertySet, formulas: set[str]) -> PropertySet:
    """Return the crystals of other formulas: those that judge may not have been learned."""
    import numpy as np

    rows = np.array([row for row, formula in enumerate(everything.formulas) if formula not in formulas], dtype=int)
    if len(rows) < len(everything):
        say(f"{len(everything) - len(rows)} crystals have formulas that are kept back, and are left out")
    return everything.subset(rows)


def _finish(
    model: PropertyModel,
    training: PropertySet,
    judged: PropertySet,
    out: Path,
    options: Any,
    seconds: float,
    files: Sequence[dict[str, Any]],
    notes: str,
) -> None:
    """Judge, pack and draw a trained model."""
    from icsg3d.pretrained.packing import TrainingRecord, pack_property_model
    from icsg3d.report.parity import draw_parity
    from icsg3d.training.ensembles import coverage, errors

    record = TrainingRecord(
        command=shlex.join(["icsg3d", *(a for a in sys.argv[1:] if a != "--resume")]),
        data=files,
        options=dataclasses.asdict(options),
        seconds=seconds,
        machine=platform.machine(),
        metrics={"crystals": len(judged), **errors(model, judged), **coverage(model, judged)},
    )
    pack_property_model(model, training, out / "model", record, notes)
    draw_parity(model, judged, out / "parity.png")
    unit = f" {model.config.property.unit}" if model.config.property.unit else ""
    say(
        f"mean absolute error {record.metrics['mae']:.4f}{unit} on {len(judged)} crystals kept back (predicting the "
        f"median: {record.metrics['mae_of_median']:.4f}); the model is in [bold]{out / 'model'}[/], the picture of "
        f"predicted against true values in {out / 'parity.png'}"
    )


def import_cgcnn(
    weights: Annotated[Path, typer.Argument(help="Checkpoint of the official CGCNN (.pth.tar).")],
    atom_init: Annotated[Path, typer.Option(help="The atom_init.json it was trained with.")],
    target: Annotated[str, typer.Option(help="Property it predicts, such as formation_energy_per_atom.")],
    out: Annotated[Path, typer.Option(help="Folder of the converted model.")],
) -> None:
    """Convert a checkpoint of the official CGCNN (Xie and Grossman) into a property model.

    The file is a pickle; it is read with a loader that makes tensors and numbers and refuses everything else.

    **Example**

        icsg3d train import-cgcnn bulk-moduli.pth.tar --atom-init atom_init.json --target bulk_modulus --out runs/cgcnn
    """
    from icsg3d.models.cgcnn import read_cgcnn
    from icsg3d.models.properties import save_property_model
    from icsg3d.models.targets import PROPERTIES, unknown_property

    model = read_cgcnn(weights, atom_init, PROPERTIES.get(target) or unknown_property(target))
    save_property_model(model, out)
    say(f"the model is in [bold]{out}[/]: icsg3d predict --property {out} --data ...")
