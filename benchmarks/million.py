"""A flow of a million draws with made-up records: the largest document, and the time of merging and selecting.

Run ``python -m benchmarks.million [--draws N] [--keep K] [--folder DIR]``. Only the draws are made up: in each shard
all draws pass, with random formulas and energies and cells of 2, 3 and 5 atoms. Documents, references, merges and the
selection are those of a real flow; what each job stores lies in a file, which the jobs that refer to it read.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import tempfile
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import numpy as np
from jobflow import Flow, Job, JobStore
from jobflow.managers.fireworks import flow_to_workflow
from maggma.stores import MemoryStore
from monty.json import MontyEncoder, jsanitize
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.elements import symbols
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.screening.merging import Contender, Part, contender, contenders
from icsg3d.workflows import shards
from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker
from icsg3d.workflows.schemas import PACKED, CandidateDoc, CandidatesDoc, ContendersDoc, to_lines
from icsg3d.workflows.shards import DesignFlowMaker, ShardMaker

MIB = 2**20
PROCESSES = 2
PLACES = {"NaCl": ("Na", "Cl"), "TiNiSn": ("Ti", "Ni", "Sn"), "SrTiO3": ("Sr", "Ti", "O")}
ELEMENTS = [symbol for symbol in symbols()[1:84] if symbol not in {"He", "Ne", "Ar", "Kr", "Xe"}]


@cache
def templates() -> list[tuple[tuple[str, ...], str]]:
    """Return elements of prototypes and their candidates as JSON, with marks for what differs."""
    found = []
    for formula, elements in PLACES.items():
        candidate = _candidate(prototype_structure(formula).get_primitive_structure())
        text = json.dumps(candidate.as_dict(), cls=MontyEncoder)
        for place, symbol in enumerate(elements):
            text = text.replace(f'"{symbol}"', f'"<{place}>"')
        found.append((elements, text))
    return found


def _candidate(structure: Structure) -> Candidate:
    predictions = {"formation_energy_per_atom": -1.23456789, "formation_energy_per_atom_std": 0.0123456789}
    predictions |= {"energy_above_hull": 0.123456789, "energy_above_hull_std": 0.0123456789, "volume_per_atom": 20.1}
    screening = {
        "scaled_by": 1.01234,
        "predicted": True,
        "decomposition": "0.6 CsPbI3 + 0.4 PbI2",
        "known_phase": False,
    }
    screening |= {"space_group": "Pm-3m", "distance_ratio": 0.8123, "charge_neutral": True, "duplicate_of": None}
    screening |= {"oxidation_states": "Cs(1+) Pb(2+) I(1-)", "novel": True, "passed": True, "failed_on": []}
    names = {"model": "cubic", "model_sha256": "0" * 64, "seed": 0, "in_training": False}
    return Candidate(987654321, structure, predictions=predictions, screening=screening, **names)


def made_up(_: Any, __: Any, numbers: range, keep: int | None) -> Part:
    """Stand in for drawing and judging: all draws pass."""
    random = np.random.default_rng(numbers.start)
    kinds = templates()
    found = []
    for number in numbers:
        elements, text = kinds[random.integers(len(kinds))]
        chosen = [str(each) for each in random.choice(ELEMENTS, len(elements), replace=False)]
        above, volume = float(random.random() / 4), int(random.integers(60))
        for place, symbol in enumerate(chosen):
            text = text.replace(f'"<{place}>"', f'"{symbol}"')
        text = text.replace("987654321", str(number)).replace("0.123456789", repr(above), 1)
        perovskite = elements == PLACES["SrTiO3"]
        formula = "".join(sorted(chosen[:2])) + f"{chosen[2]}3" if perovskite else "".join(sorted(chosen))
        key = f"{formula} {len(elements)} Pm-3m {volume} 0123456789abcdef"
        packed = base64.b64encode(zlib.compress(text.encode(), 1)).decode()
        found.append(Contender(above, -1.23456789, number, formula, key, packed))
    return Part(numbers.start, len(numbers), len(numbers), len(numbers), contenders=tuple(contenders(found, keep)))


JOBS: dict[str, Job] = {}
"""All jobs, for the processes that are forked."""


def run_job(given: tuple[str, Path]) -> int:
    """Run a job by its uuid; return the size of the largest document that it stores in bytes."""
    job, folder = JOBS[given[0]], given[1]
    store = JobStore(MemoryStore("outputs"), additional_stores={"data": MemoryStore("data")})
    store.connect()
    for uuid in job.input_uuids:
        kept = bson.decode((folder / uuid).read_bytes())
        store.docs_store.update(kept["documents"], key=["uuid", "index"])
        if kept["objects"]:
            store.additional_stores["data"].update(kept["objects"], key="blob_uuid")
    job.run(store)
    documents = [_bare(each) for each in store.docs_store.query({"uuid": job.uuid})]
    objects = [_bare(each) for each in store.additional_stores["data"].query({"job_uuid": job.uuid})]
    (folder / job.uuid).write_bytes(bson.encode({"documents": documents, "objects": objects}))
    return max(len(bson.encode(each)) for each in [*documents, *objects])


def _bare(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "_id"}


def level_of(job: Job, levels: dict[str, int]) -> int:
    """Return how many jobs stand below one."""
    return 1 + max((levels[uuid] for uuid in job.input_uuids), default=-1)


def workflow_sizes(flow: Flow) -> tuple[int, int]:
    """Return the largest job and the workflow as FireWorks keeps them, in bytes."""
    workflow = flow_to_workflow(flow)
    jobs = max(len(bson.encode(each.to_db_dict())) for each in workflow.fws)
    return jobs, len(bson.encode(workflow.to_db_dict()))


def full_parts() -> tuple[int, int]:
    """Return the sizes in bytes of full parts of crystals of 20 atoms in general places: contenders, and selected."""
    random = np.random.default_rng(0)
    species = [("Cs", "Pb", "Sn", "Br", "I")[k % 5] for k in range(20)]
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:20] / 3
    found = []
    for _ in range(PACKED):
        lattice = Lattice(15 * np.eye(3) + random.normal(size=(3, 3)))
        found.append(_candidate(Structure(lattice, species, grid + random.normal(scale=0.02, size=(20, 3)))))
    packed = ContendersDoc(candidates=to_lines(contender(each) for each in found))
    chosen = CandidatesDoc(candidates=[CandidateDoc.from_candidate(each) for each in found])
    packed_size, chosen_size = (
        len(bson.encode({"data": jsanitize(each, strict=True, enum_values=True, allow_bson=True)}))
        for each in (packed, chosen)
    )
    return packed_size, chosen_size


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=1_000_000)
    parser.add_argument("--keep", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    for name, size in zip((f"{PACKED} contenders", f"{PACKED} selected"), full_parts(), strict=True):
        print(f"object of {name} of 20 atoms: {size / 1000:.0f} kB", flush=True)
    flow = DesignFlowMaker(keep=given.keep).make(None, given.draws)
    jobs = [job for job, _ in flow.iterflow()]
    size, whole = workflow_sizes(flow)
    print(
        f"FireWorks: largest job {size / 1000:.1f} kB, workflow of {len(jobs)} jobs {whole / 1000:.0f} kB", flush=True
    )
    levels: dict[str, int] = {}
    JOBS.update({job.uuid: job for job in jobs})
    for job in jobs:
        levels[job.uuid] = level_of(job, levels)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        _run(jobs, levels, Path(folder))


def _run(jobs: list[Job], levels: dict[str, int], folder: Path) -> None:
    shards.judge_part = made_up
    source, judge = GenerateMaker.source, ScreenMaker.judge
    GenerateMaker.source = lambda *_: None
    ScreenMaker.judge = lambda self, *_: SimpleNamespace(screening=self.criteria())
    largest, merging = 0, 0.0
    for level in range(max(levels.values()) + 1):
        here = [job for job in jobs if levels[job.uuid] == level]
        begun = time.perf_counter()
        if here[0].name == "select":
            GenerateMaker.source, ScreenMaker.judge = source, judge
        with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("fork")) as pool:
            done = list(pool.map(run_job, [(job.uuid, folder) for job in here]))
        taken = time.perf_counter() - begun
        largest = max(largest, *done)
        if here[0].name.startswith("merge"):
            merging += taken
        kind = "shards made up" if isinstance(here[0].maker, ShardMaker) else here[0].name.split(" ")[0]
        print(
            f"{kind}: {len(here)} jobs, {taken:.0f} s, largest document {max(done) / 1000:.0f} kB",
            flush=True,
        )
    print(f"merging: {merging / 60:.1f} min with {PROCESSES} processes; goal: 10 min")
    print(f"largest document: {largest} bytes; goal: {MIB}")


if __name__ == "__main__":
    main()
