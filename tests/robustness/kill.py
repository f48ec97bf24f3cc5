"""Real processes of every command, stopped at random moments and resumed, against the same run left alone.

``python tests/robustness/kill.py --kills 100`` runs each command once to its end, then again with kills (``SIGKILL``,
``SIGTERM``, ``SIGINT`` or ``SIGHUP``) at random moments, each followed by the command that resumes it, until it ends by
itself. It fails if the results differ by a byte from those of the run that was left alone, if a kept row is lost on the
way, or if something stays behind. The same seed draws the same moments, as shares of the time that a run takes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pandas as pd
from pymatgen.core import Lattice, Structure

ROOT = Path(__file__).parents[2]

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

KILLS_A_RUN = 4
"""A run is killed at most so often before it is left to end."""

KEY = "Abcdefgh1jklmn0pqrstuvwxyz012345"


@dataclass(frozen=True)
class Command:
    """A command, and what it leaves.

    Attributes:
        arguments: With ``{out}`` for where it writes and ``{inputs}`` for the folder of inputs.
        results: Files below ``{out}``, or endings of it, that must be alike in all runs.
        resume: What is added to resume.
        environment: More variables.
    """

    arguments: tuple[str, ...]
    results: tuple[str, ...]
    resume: tuple[str, ...] = ("--resume",)
    environment: dict[str, str] = field(default_factory=dict)


_TINY = ("members=2", "width=8", "layers=1", "batch-size=8")

COMMANDS = {
    "generate": Command(
        ("generate", "--base", "SrTiO3", "-n", "96", "--no-picture", "--out", "{out}"),
        ("candidates.csv", "candidates.json.gz"),
    ),
    "generate, two processes": Command(
        ("generate", "-n", "192", "--keep", "9", "--jobs", "2", "--no-picture", "--out", "{out}"),
        ("candidates.csv", "candidates.json.gz", "candidates.parquet"),
    ),
    "screen": Command(
        ("screen", "{inputs}/cubic.json", "--no-picture", "--out", "{out}"),
        ("candidates.csv", "candidates.json.gz"),
    ),
    "reconstruct": Command(
        ("reconstruct", "--data", "{inputs}/cubic.json", "--out", "{out}.json"),
        (".json",),
    ),
    "predict": Command(
        ("predict", "--data", "{inputs}/many.json", "--property", "band_gap", "--out", "{out}.csv"),
        (".csv",),
    ),
    "featurize": Command(
        ("featurize", "--data", "{inputs}/many.json", "--featurizer", "graph=band_gap", "--out", "{out}.csv"),
        (".csv",),
    ),
    "validate": Command(
        (
            *("validate", "{inputs}/metals", "--engine", "tests.workflows.emt_makers:CountingMaker"),
            *("--no-screen", "--no-scale-cells", "--out", "{out}"),
        ),
        ("table_s1.csv", "table_s3.csv", "screening.csv"),
        environment={"COUNT_SECONDS": "0.3", "COUNT_FILE": "{out}.count"},
    ),
    "evaluate": Command(
        ("evaluate", "reconstruction", "--data", "{inputs}/cubic.json", "--jobs", "1", "--out", "{out}"),
        ("reconstruction.json", "reconstruction.csv"),
    ),
    "evaluate generation": Command(
        ("evaluate", "generation", "--data", "{inputs}/cubic.json", "-n", "96", "--jobs", "1", "--out", "{out}"),
        ("generation.json", "generation.csv"),
    ),
    "data fetch": Command(
        ("data", "fetch", "--crystal-system", "cubic", "--out", "{out}.json.gz"),
        (".json.gz",),
        resume=(),
    ),
    "train generator": Command(
        (
            *("train", "generator", "--data", "{inputs}/cubic.json", "--from", "{inputs}/untrained"),
            *("--joint-epochs", "12", "--set", "batch-size=8", "--set", "density-steps=400", "--accelerator", "cpu"),
            *("--out", "{out}"),
        ),
        ("model/weights.safetensors",),
    ),
    "train materials": Command(
        (
            *("train", "materials", "--data", "{inputs}/table.npz", "--validation", "{inputs}/judged.npz"),
            *(
                "--from",
                "{inputs}/grids",
                "--autoencoder-steps",
                "30",
                "--density-steps",
                "30",
                "--set",
                "precision=float32",
            ),
            *("--out", "{out}"),
        ),
        ("model/weights.safetensors",),
    ),
    "train property": Command(
        (
            *("train", "property", "--data", "{inputs}/gaps.json", "--target", "band_gap", "--epochs", "6"),
            *(each for setting in _TINY for each in ("--set", setting)),
            *("--accelerator", "cpu", "--out", "{out}"),
        ),
        ("model/weights.safetensors",),
    ),
}


def write_inputs(folder: Path) -> None:
    """Write what the commands read."""
    from icsg3d.data import write_frame
    from icsg3d.generation.prototypes import prototype_structure

    formulas = ("NaCl", "SrTiO3", "BaTiO3", "KMgF3", "MgO", "CsCl", "Cu2MnAl", "Fe2VAl", "LiF", "KBr", "LaAlO3", "CaO")
    crystals = [prototype_structure(formula) for formula in formulas]
    many = [crystal.copy() for _ in range(200) for crystal in crystals]
    for row, crystal in enumerate(many):
        crystal.scale_lattice(crystal.volume * (1 + row / 20_000))
    for name, chosen in (("cubic", many[:96]), ("many", many * 2), ("gaps", many[:60])):
        frame = pd.DataFrame({"material_id": [f"x-{row}" for row in range(len(chosen))], "structure": chosen})
        frame["band_gap"] = [(row * 7 % 11) / 3 for row in range(len(chosen))]
        write_frame(frame, folder / f"{name}.json")
    _write_models(folder, crystals)
    (folder / "metals").mkdir()
    for first, second, edge in (("Cu", "Au", 3.05), ("Ni", "Al", 2.9), ("Pd", "Ag", 3.1), ("Cu", "Pd", 3.0)):
        metal = Structure(Lattice.cubic(edge), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]])
        metal.to(str(folder / "metals" / f"{first}{second}.cif"))


def _write_models(folder: Path, crystals: list[Structure]) -> None:
    """Write generators that have learned nothing and are trained in milliseconds a step, and compact tables."""
    import numpy as np

    from icsg3d.crystals.cells import reduced_cell
    from icsg3d.crystals.structures import primitive_cell
    from icsg3d.data.compact_arrays import CompactCrystals, write_compact
    from icsg3d.models.checkpoints import save_network
    from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork
    from icsg3d.models.grid_flow import GridFlowConfig
    from icsg3d.models.grid_generator import GridGeneratorConfig, save_grid_networks
    from icsg3d.models.grid_vae import GridVAEConfig
    from icsg3d.models.unet import SegmentationUNetConfig
    from icsg3d.models.vae import CrystalVAEConfig
    from icsg3d.representation.voxels import VoxelConfig
    from icsg3d.training.grid_data import GridSet
    from icsg3d.training.materials import MaterialsData, untrained

    cells = [primitive_cell(crystal)[0] for crystal in crystals]
    numbers = tuple(int(number) for number in np.unique(np.concatenate([cell.numbers for cell in cells])))
    voxels = VoxelConfig.preset("periodic", grid=8)
    vae = CrystalVAEConfig(
        grid=8, channels=voxels.channels, filters=(8, 16), depths=(1, 1), bottleneck=8, hidden=16, decoder_hidden=(16,),
        latent=16,
    )  # fmt: skip
    unet = SegmentationUNetConfig(voxels.channels, down=((8, 8),), bottom=(16, 16), up=((8, 8),))
    save_network(GeneratorNetwork(GeneratorConfig(voxels, vae, unet, elements=numbers)), folder / "untrained", {})
    grids = GridGeneratorConfig(
        vae=GridVAEConfig(
            latent=4, species=8, embedding=8, encoder=(8, 8, 8), decoder=(8, 8, 8), encoder_blocks=(0, 1, 1),
            decoder_blocks=(0, 1, 1),
        ),
        flow=GridFlowConfig(latent=4, width=16, layers=1, heads=2),
    )  # fmt: skip
    shown = GridSet.make([reduced_cell(cell) for cell in cells], grids.vae.fields)
    energies = np.linspace(-3, 0, len(cells))
    save_grid_networks(untrained(grids, MaterialsData(shown, shown, energies, energies)), folder / "grids")
    for name, rows in (("table", range(1, len(cells))), ("judged", range(1))):
        columns = {"formation_energy_per_atom": energies[list(rows)]}
        names = [f"x-{row}" for row in rows]
        write_compact(CompactCrystals.of(names, [cells[row] for row in rows], columns), folder / f"{name}.npz")


class _Project(BaseHTTPRequestHandler):
    """The Materials Project: 3,000 materials, slowly."""

    def do_GET(self):
        asked = dict(parse_qsl(urlsplit(self.path).query))
        skip, limit = int(asked["_skip"]), int(asked["_limit"])
        rows = [_material(number) for number in range(skip, min(skip + limit, 3000))]
        body = json.dumps({"data": rows, "meta": {"total_doc": 3000}}).encode()
        time.sleep(0.2)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # who asked was killed
            self.close_connection = True

    def log_message(self, *_):
        pass


def _material(number):
    crystal = Structure(Lattice.cubic(3.9 + number / 10_000), ["Sr", "Ti"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return {"material_id": f"mp-{number + 1}", "structure": crystal.as_dict(), "symmetry": {"number": 221}}


@contextmanager
def materials_project():
    """Serve on this machine; yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Project)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@dataclass
class Run:
    """One run of a command into a place of its own.

    Attributes:
        command: Which.
        folder: Of the results of this run alone.
        inputs: Folder of inputs.
        address: Of the Materials Project's stand-in.
    """

    command: Command
    folder: Path
    inputs: Path
    address: str

    @property
    def out(self) -> Path:
        """Return where the command writes, an ending aside."""
        return self.folder / "out"

    def start(self, *, resume: bool) -> subprocess.Popen[str]:
        """Start the command."""
        values = {"out": str(self.out), "inputs": str(self.inputs)}
        arguments = [each.format(**values) for each in self.command.arguments]
        more = {name: value.format(**values) for name, value in self.command.environment.items()}
        own = {"MP_API_ENDPOINT": self.address, "MP_API_KEY": KEY, "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
        self.folder.mkdir(exist_ok=True)
        # A shell may have what it starts in the background ignore signals; the command is to hear them.
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        code += "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        return subprocess.Popen(
            [sys.executable, "-c", f"{code}from icsg3d.__main__ import main; main()", *arguments, *self._more(resume)],
            cwd=ROOT,
            env=os.environ | own | more,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _more(self, resume: bool) -> tuple[str, ...]:
        return self.command.resume if resume else ()

    def files(self) -> dict[str, bytes | None]:
        """Return the results by name, None where there is none."""
        paths = [Path(f"{self.out}{each}") if each[0] == "." else self.out / each for each in self.command.results]
        return {path.name: path.read_bytes() if path.is_file() else None for path in paths}

    def kept(self) -> set[bytes]:
        """Return the whole rows of partial files."""
        found = set()
        for path in self.folder.rglob("*.partial.jsonl"):
            found |= {line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")}
        return found

    def left_behind(self) -> list[str]:
        """Return files of a run that is under way; none is left, but what a command keeps on purpose."""
        patterns = ("*.part", "*.partial.jsonl", "*.lock", ".lock")
        return sorted({str(path.relative_to(self.folder)) for each in patterns for path in self.folder.rglob(each)})


@dataclass
class Outcome:
    """What came of the kills of a command.

    Attributes:
        kills: How many were made.
        moments: How the killed runs ended, by signal.
        wrong: What was lost, changed or left behind.
    """

    kills: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def kill_often(name: str, kills: int, seed: int, folder: Path, inputs: Path, address: str) -> Outcome:
    """Kill a command at random moments, ``kills`` times in all, and compare each finished run with one left alone."""
    command, rng, found = COMMANDS[name], random.Random(f"{seed} {name}"), Outcome()  # noqa: S311 (moments)
    whole = Run(command, folder / "whole", inputs, address)
    started = time.monotonic()
    with whole.start(resume=False) as process:
        said = process.communicate()[1]
    duration = time.monotonic() - started
    if process.returncode != 0:
        found.wrong.append(f"{name} left alone ended with {process.returncode}: {said[-500:]}")
        return found
    expected, number = whole.files(), 0
    if missing := [each for each, data in expected.items() if data is None]:
        found.wrong.append(f"{name} left alone wrote no {', '.join(missing)}")
        return found
    while found.kills < kills and not found.wrong:
        number += 1
        run = Run(command, folder / str(number), inputs, address)
        _one_run(run, name, min(KILLS_A_RUN, kills - found.kills), duration, rng, found)
        if not found.wrong and run.files() != expected:
            changed = [each for each, data in run.files().items() if data != expected[each]]
            found.wrong.append(f"{name}, run {number}: {', '.join(changed)} differs from the run that was left alone")
        if not found.wrong and (left := sorted({*run.left_behind()} - {*whole.left_behind()})):
            found.wrong.append(f"{name}, run {number}: {', '.join(left)} stayed behind")
    return found


def _one_run(run: Run, name: str, kills: int, duration: float, rng: random.Random, found: Outcome) -> None:
    """Run a command with some kills, then let it end."""
    kept: set[bytes] = set()
    for attempt in range(kills + 1):
        # Most moments lie where something is computed or written; the imports take the first third or so.
        moment = duration * rng.uniform(0.25, 1.0) if rng.random() < 0.9 else duration * rng.random()
        with run.start(resume=attempt > 0) as process:
            try:
                process.wait(timeout=moment if attempt < kills else 600)
            except subprocess.TimeoutExpired:
                number = rng.choice(SIGNALS) if attempt < kills else signal.SIGKILL
                process.send_signal(number)
                found.kills += 1
                found.moments[signal.Signals(number).name] += 1
            said = process.communicate()[1]
        if "Traceback" in said:
            found.wrong.append(f"{name}: a traceback: {said[-1500:]}")
            return
        if process.returncode == 0:
            return
        if attempt == kills or process.returncode not in {-9, -15, -2, -1, 143, 130, 129}:
            found.wrong.append(f"{name}: ended with {process.returncode}: {said[-500:]}")
            return
        done = all(data is not None for data in run.files().values())  # and the partial file is removed
        if not done and (lost := kept - run.kept()):
            found.wrong.append(f"{name}: {len(lost)} rows that were kept are gone")
            return
        kept = run.kept()


def run_all(kills: int, seed: int, names: list[str], folder: Path) -> dict[str, Outcome]:
    """Kill commands ``kills`` times together, each about as often, and return what came of it by command."""
    inputs = folder / "inputs"
    inputs.mkdir()
    write_inputs(inputs)
    results = {}
    with materials_project() as address:
        for place, name in enumerate(names):
            share = kills * (place + 1) // len(names) - kills * place // len(names)
            own = folder / name.replace(" ", "-")
            own.mkdir()
            results[name] = kill_often(name, share, seed, own, inputs, address)
            print(f"{name}: {results[name].kills} kills, {dict(results[name].moments)}", flush=True)  # noqa: T201
    return results


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", choices=list(COMMANDS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = run_all(arguments.kills, arguments.seed, arguments.command or list(COMMANDS), Path(folder))
    wrong = [each for found in results.values() for each in found.wrong]
    print(f"{sum(found.kills for found in results.values())} kills, {len(wrong)} failures")  # noqa: T201
    for each in wrong:
        print(each)  # noqa: T201
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
