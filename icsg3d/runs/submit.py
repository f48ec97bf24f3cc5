"""Runs that a workflow manager spreads over machines: the flow is made here and handed over, to be collected later."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, get_args

from icsg3d.arguments import whole_number
from icsg3d.errors import InputError
from icsg3d.files import saving, write_atomically
from icsg3d.report.folders import CANDIDATE_FILES, SUBMITTED_FILE
from icsg3d.run_folders import run_folder
from icsg3d.runs.generate import design_of, settings_of
from icsg3d.runs.judged import TOLD, Judging
from icsg3d.runs.validate import HOLDS, OWN, plan
from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker
from icsg3d.workflows.shards import DesignFlowMaker, ShardMaker
from icsg3d.workflows.stores import common_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import Flow

    from icsg3d.crystals.structures import Crystal
    from icsg3d.runs.generate import Design, DesignOptions

Manager = Literal["fireworks", "remote"]

NAMES: dict[str, str] = {"fireworks": "FireWorks", "remote": "jobflow-remote"}
"""Managers by the names they have themselves."""

LARGEST = 16_000_000
"""Bytes of a document that MongoDB takes, with some room."""

_START = {
    "fireworks": "start workers on the machines (rlaunch rapidfire, or qlaunch rapidfire in a queue)",
    "remote": "see that its runner is on (jf runner start)",
}


@dataclass(frozen=True)
class Submission:
    """To whom a flow is handed.

    Attributes:
        manager: ``fireworks`` or ``remote``, which is jobflow-remote.
        shard_size: Draws, or candidates to validate, of one job.
        worker: Of jobflow-remote; None for its first.
        project: Of jobflow-remote; None for its current one.
    """

    manager: str
    shard_size: int = 1000
    worker: str | None = None
    project: str | None = None

    def __post_init__(self) -> None:
        """Check names and number.

        Raises:
            InputError: if there is no such manager, or an option goes with another one.
        """
        if self.manager not in get_args(Manager):
            raise InputError(
                f"there is no workflow manager {self.manager!r}; give --submit {' or '.join(get_args(Manager))}"
            )
        if self.manager != "remote" and (self.worker or self.project):
            raise InputError("--worker and --project go with --submit remote; leave them out")
        whole_number(self.shard_size, "--shard-size", 1)


@dataclass(frozen=True)
class Submitted:
    """A flow that a manager has.

    Attributes:
        folder: Where it is recorded, and its results will be.
        manager: Which.
        jobs: How many jobs it begins with.
    """

    folder: Path
    manager: str
    jobs: int

    def __str__(self) -> str:
        """Return what to do next in a sentence."""
        return (
            f"{self.jobs} jobs are with {NAMES[self.manager]}: {_START[self.manager]}, and when they are done run "
            f"icsg3d collect {self.folder}"
        )


def submit_design(
    out: Path,
    submission: Submission,
    base: Crystal | None = None,
    judging: Judging | None = None,
    *,
    n: int | None = None,
    device: str = "cpu",
    judged: bool = True,
    overwrite: bool = False,
    **options: Unpack[DesignOptions],
) -> Submitted:
    """Hand the flow of a design to a manager; its result is that of :func:`icsg3d.runs.generate.generate`.

    Args:
        out: Folder of the record, and of the results once they are collected.
        submission: To whom.
        base: As of :func:`icsg3d.runs.generate.generate`, as are all others.
        judging: What is asked for; files of phases must have the same path on all machines.
        n: Number of draws, which a flow must know.
        device: Where the networks run, on those machines.
        judged: Draws are always judged.
        overwrite: Replace what an earlier run left.
        options: Of the draws, ``scale``, ``condition``, ``seed``, ``model`` (a folder must have the same path on all
            machines) and ``symmetry``; draws ``by`` the generator alone are handed over.

    Raises:
        InputError: if an option or the base cannot be used, the manager is missing or not set up, or the folder holds
            another run.
    """
    if n is None:
        raise InputError("a flow is made for a number of draws; give -n")
    if options.get("by", "generator") != "generator" or not judged:
        raise InputError("a manager gets draws that are judged; leave out --by exchange and --no-judge, or --submit")
    if "," in device:
        raise InputError(f"a job has its networks on one device, got {device}; give one")
    _check_manager(submission)
    judging = judging or Judging()
    if judging.also:
        raise InputError("a manager's results are collected as tables and CIFs; leave out --also or --submit")
    design = design_of(base, judging, n, **options)
    design = dataclasses.replace(design, model=_travelling(design.model))
    judge = judging.judge(design.base, drawn=True)
    settings = settings_of(design.source(judge), design.base)
    flow = design_flow(design, device, submission.shard_size)
    with run_folder(out, CANDIDATE_FILES, settings, holds="candidates", resume=False, overwrite=overwrite):
        return _submit(flow, out, submission, "design")


def design_flow(design: Design, device: str, shard_size: int) -> Flow:
    """Return the flow of a design.

    Args:
        design: What is designed, with draws of a generator.
        device: Where the networks run.
        shard_size: Draws of one job.

    Raises:
        InputError: if something cannot be used.
    """
    judging = design.judging
    generate = GenerateMaker(
        model=design.model,
        seed=design.seed,
        scale=design.scale,
        condition=design.condition,
        device=device,
        symmetry_tolerance=design.symmetry,
    )
    screen = ScreenMaker(
        screening={"above_hull": judging.above_hull, "novel": judging.novel},
        constraints=judging.constraints,
        scale_cells=judging.scale_cells,
        relax=judging.relaxes(drawn=True),
        phases=[str(Path(path).resolve()) for path in judging.phases],
        device=device,
    )
    told = list(dict.fromkeys((*TOLD, *judging.properties)))
    maker = DesignFlowMaker(
        generate_maker=generate, screen_maker=screen, keep=judging.keep, told=told, shard_size=shard_size
    )
    return maker.make(design.base, design.n)


def _travelling(model: str) -> str:
    """Return a model by its name, or by its whole path if it is a folder."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def submit_validation(
    candidates: Path | Sequence[Path],
    out: Path,
    submission: Submission,
    *,
    engine: str = "chgnet",
    top: int = 10,
    fixed: bool = False,
    screen: bool = True,
    scale_cells: bool = True,
    novel: bool = False,
    elements: Sequence[Path] = (),
    phases: Sequence[Path] = (),
    device: str = "cpu",
    overwrite: bool = False,
) -> Submitted:
    """Hand the flow of a validation to a manager; arguments as of :func:`icsg3d.runs.validate.validate`.

    Args:
        candidates: Files of candidates, or any crystals.
        out: Folder of the record, and of the results once they are collected.
        submission: To whom.
        engine: Known on all machines.
        top: Candidates to validate.
        fixed: Relax nothing.
        screen: Leave out what is too close, unbalanced, repeated or uncertain.
        scale_cells: First bring each cell to its predicted equilibrium volume.
        novel: Also leave out compositions that the generator has learned.
        elements: Crystals of elements, as their references.
        phases: Files of phases to add to the hull, which must have the same path on all machines.
        device: Where the networks run, on those machines.
        overwrite: Replace what an earlier run left.

    Raises:
        InputError: if an option or a crystal cannot be used, the manager is missing or not set up, or the folder holds
            another run.
    """
    _check_manager(submission)
    size = submission.shard_size
    ways = {"fixed": fixed, "screen": screen, "scale": scale_cells, "novel": novel}
    planned = plan(candidates, engine, top, elements, size, device, phases=phases, **ways)
    with run_folder(out, OWN, planned.settings, holds=HOLDS, resume=False, overwrite=overwrite):
        return _submit(planned.flow, out, submission, "validation")


def _submit(flow: Flow, out: Path, submission: Submission, kind: str) -> Submitted:
    """Record a flow and hand it over; what cannot be handed over leaves no record."""
    jobs = [job for job, _ in flow.iterflow()]
    record = {
        "kind": kind,
        "manager": submission.manager,
        "project": submission.project,
        "worker": submission.worker,
        "flow": flow.uuid,
        "result": cast("Any", flow.output).uuid,
        "shards": [job.uuid for job in jobs if isinstance(job.maker, ShardMaker)],
    }
    with saving(out):
        write_atomically(out / SUBMITTED_FILE, json.dumps(record, indent=1).encode())
    try:
        _hand_over(flow, submission)
    except BaseException:
        (out / SUBMITTED_FILE).unlink()
        raise
    return Submitted(out, submission.manager, len(jobs))


def _check_manager(submission: Submission) -> None:
    """Refuse a manager that is not installed or not set up.

    Raises:
        InputError: if it is not.
    """
    name = NAMES[submission.manager]
    try:
        if submission.manager == "remote":
            import jobflow_remote  # noqa: F401
        else:
            from fireworks import fw_config
    except ImportError as error:
        package = "jobflow-remote" if submission.manager == "remote" else "fireworks"
        raise InputError(f"{name} cannot be imported ({error}); install it with pip install {package}") from error
    if submission.manager == "remote":
        return
    if not fw_config.LAUNCHPAD_LOC:
        raise InputError(
            "FireWorks knows no LaunchPad; write my_launchpad.yaml (lpad init), and run icsg3d beside it or name it in "
            "the file of FW_CONFIG_FILE"
        )
    common_store()


def _hand_over(flow: Flow, submission: Submission) -> None:
    """Give a flow to its manager.

    Raises:
        InputError: if it does not take it.
    """
    try:
        if submission.manager == "remote":
            from jobflow_remote import submit_flow

            submit_flow(flow, worker=submission.worker, project=submission.project)
        else:
            _to_fireworks(flow)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{NAMES[submission.manager]} did not take the flow ({type(error).__name__}: {reason}); see that it is set "
            "up and its database runs"
        ) from error


def _to_fireworks(flow: Flow) -> None:
    import bson
    from fireworks import LaunchPad
    from jobflow.managers.fireworks import flow_to_workflow

    workflow = flow_to_workflow(flow)
    sizes = [len(bson.encode(each.to_db_dict())) for each in workflow.fws]
    links = len(bson.encode(workflow.to_db_dict()))
    if max(sizes) > LARGEST:
        raise InputError(
            f"a job of the flow has {max(sizes) / 1e6:.0f} MB, and MongoDB takes 16; give fewer candidates, the best"
        )
    if links > LARGEST:
        raise InputError(
            f"the flow has {len(sizes)} jobs, more than FireWorks can keep in a workflow; give a larger --shard-size"
        )
    LaunchPad.auto_load().add_wf(workflow)
