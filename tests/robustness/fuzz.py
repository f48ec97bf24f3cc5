"""Mutants of crystal files, read as every surface reads them: no traceback, no death, no hang, no absurd crystal.

``python tests/robustness/fuzz.py --cases 10000`` runs in a process of its own that is watched: one that dies or takes
longer than 20 s for a case counts as a failure, and the run goes on behind it. The same seed gives the same mutants.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core import Lattice, Structure

LIMIT_S = 20.0
"""A case that takes longer hangs."""

NASTY = (
    *("0", "-0", "-1", "1e6", "1e308", "-1e308", "1e-308", "nan", "inf", "-inf", "?", ".", "''", "999999999"),
    *("9" * 400, "0.333", "1e400", "0.11", "179.99", "\x00", "\ufeff", "Og", "X", "D", "Am"),
)


def seeds() -> dict[str, bytes]:
    """Return good files by name, one or more of each kind that is read."""
    salt = Structure(Lattice.cubic(5.64), ["Na", "Cl"] * 4, _salt_places())
    skewed = Structure(
        Lattice.from_parameters(4.1, 5.2, 6.3, 75, 82, 97),
        ["La", "O", "F"],
        [[0.1, 0.2, 0.3], [0.6, 0.1, 0.8], [0.3, 0.7, 0.55]],
    )
    by_hand = (
        "data_x\n_cell_length_a 3.905\n_cell_length_b 3.905\n_cell_length_c 3.905\n_cell_angle_alpha 90\n"
        "_cell_angle_beta 90\n_cell_angle_gamma 90\n_symmetry_Int_Tables_number 221\n_chemical_formula_sum 'Sr Ti O3'\n"
        "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        "_atom_site_occupancy\nSr1 Sr 0 0 0 1\nTi1 Ti .5 .5 .5 1\nO1 O .5 .5 0 1\n"
    )
    frame = {
        "columns": ["material_id", "structure", "band_gap"],
        "index": [0, 1],
        "data": [["a", salt.as_dict(), 5.0], ["b", skewed.as_dict(), 1.0]],
    }
    lines = b"".join(json.dumps({"structure": each.as_dict()}).encode() + b"\n" for each in (salt, skewed, salt))
    table = 'material_id,band_gap,cif\na,5.0,"' + skewed.to(fmt="cif").replace('"', "'") + '"\n'
    atoms = "\n".join(f"{site.specie} {site.x:.6f} {site.y:.6f} {site.z:.6f}" for site in salt)
    cell = " ".join(f"{value:g}" for value in salt.lattice.matrix.ravel())
    return {
        "written.cif": skewed.to(fmt="cif").encode(),
        "by_hand.cif": by_hand.encode(),
        "POSCAR": salt.to(fmt="poscar").encode(),
        "a.xsf": salt.to(fmt="xsf").encode(),
        "a.res": skewed.to(fmt="res").encode(),
        "a.extxyz": f'8\nLattice="{cell}" Properties=species:S:1:pos:R:3\n{atoms}\n'.encode(),
        "a.json": json.dumps(salt.as_dict()).encode(),
        "frame.json": json.dumps(frame).encode(),
        "frame.json.gz": gzip.compress(json.dumps(frame).encode(), mtime=0),
        "table.csv": table.encode(),
        "table.csv.gz": gzip.compress(table.encode(), mtime=0),
        "many.extxyz": f'8\nLattice="{cell}" Properties=species:S:1:pos:R:3\n{atoms}\n'.encode() * 3,
        "lines.jsonl": lines,
        "lines.jsonl.gz": gzip.compress(lines, mtime=0),
        **_binary([salt, skewed]),
    }


def _binary(crystals: list[Structure]) -> dict[str, bytes]:
    """Return files that only programs read."""
    import pyarrow as pa
    from ase.db import connect
    from pyarrow import parquet

    from icsg3d.crystals.structures import to_arrays
    from icsg3d.data.compact_arrays import CompactCrystals, write_compact

    table = pa.table({"structure": [json.dumps(each.as_dict()) for each in crystals], "gap": [5.0, 1.0]})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parquet.write_table(table, folder / "rows.parquet", compression="none")
        write_compact(CompactCrystals.of(["a", "b"], [to_arrays(each) for each in crystals], {}), folder / "rows.npz")
        with connect(folder / "rows.db") as database:
            for each in crystals:
                database.write(each.to_ase_atoms(), gap=1.0)
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _salt_places() -> np.ndarray:
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return np.stack([corners, corners + np.array([0.5, 0, 0])], axis=1).reshape(-1, 3) % 1


def mutant(data: bytes, rng: random.Random) -> bytes:
    """Return a file with one to three changes, most of them of single digits, so that many are still read."""
    for _ in range(rng.randint(1, 3)):
        data = rng.choice((_digit, _digit, _digit, _digit, _token, _flip, _cut, _line, _double))(data, rng)
    return data


def _digit(data: bytes, rng: random.Random) -> bytes:
    """Exchange a digit, a decimal point or a sign."""
    places = [place for place, byte in enumerate(data) if byte in b"0123456789.-"]
    if not places:
        return data
    place = rng.choice(places)
    return data[:place] + rng.choice(b"0123456789.-").to_bytes() + data[place + 1 :]


def _token(data: bytes, rng: random.Random) -> bytes:
    """Put something nasty in the place of a number or word."""
    words = data.split(b" ")
    place = rng.randrange(len(words))
    words[place] = rng.choice(NASTY).encode()
    return b" ".join(words)


def _flip(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data[rng.randrange(len(data) + 1) // 4 :]


def _line(data: bytes, rng: random.Random) -> bytes:
    """Leave out, repeat or exchange a line."""
    lines = data.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    if rng.random() < 0.3:
        lines.insert(other, lines[place])
    elif rng.random() < 0.5:
        lines[place], lines[other] = lines[other], lines[place]
    else:
        del lines[place]
    return b"\n".join(lines)


def _double(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data + data[start : start + rng.randrange(200)]


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        kind: ``read``, ``refused`` or what went wrong.
        detail: Of what went wrong.
    """

    kind: str
    detail: str = ""


GOOD = frozenset({"read", "refused"})


def outcome(path: Path) -> Outcome:
    """Read a file as the commands do, down to the neighbours of its atoms."""
    from icsg3d.crystals.structures import primitive_cell, to_arrays
    from icsg3d.data import load_structures
    from icsg3d.errors import InputError
    from icsg3d.representation.graphs import crystal_graph

    started, taken = time.monotonic(), 0
    try:
        for structure in load_structures(path).structures:
            try:
                arrays = to_arrays(structure)
                if nearest := forbidden(arrays):
                    return Outcome("absurd", nearest)
                primitive_cell(structure)
                crystal_graph(arrays)
                taken += 1
            except InputError as error:
                if "\n" in str(error):
                    return Outcome("more than a sentence", str(error))
    except InputError as error:
        if "\n" in str(error):
            return Outcome("more than a sentence", str(error))
    except Exception as error:  # noqa: BLE001 (that is what is looked for)
        return Outcome("traceback", f"{type(error).__name__}: {error}")
    if time.monotonic() - started > LIMIT_S:
        return Outcome("hang", f"{time.monotonic() - started:.0f} s")
    return Outcome("read" if taken else "refused")


def forbidden(arrays) -> str:
    """Say what is absurd about a crystal that was taken; independent of the check that took it."""
    lengths = np.linalg.norm(arrays.lattice, axis=1)
    volume = abs(np.linalg.det(arrays.lattice)) / len(arrays)
    if not (np.isfinite(arrays.frac_coords).all() and lengths.min() >= 0.9 and lengths.max() <= 1000):
        return f"lattice parameters {lengths}"
    if not 1 <= volume <= 2000:
        return f"{volume} cubic angstrom an atom"
    if len(arrays) > 200:
        return ""
    found = Structure(arrays.lattice, arrays.numbers, arrays.frac_coords).get_neighbor_list(0.399)[3]
    return f"atoms {found.min():.3g} angstrom apart" if len(found) else ""


def case(seed: int, number: int, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Return name and content of a case."""
    rng = random.Random(f"{seed} {number}")  # noqa: S311 (mutants, no secrets)
    name = rng.choice(sorted(files))
    return name, mutant(files[name], rng)


def run_case(seed: int, number: int, files: dict[str, bytes], folder: Path) -> Outcome:
    """Write a case and read it."""
    name, data = case(seed, number, files)
    path = folder / name
    path.write_bytes(data)
    try:
        return outcome(path)
    finally:
        path.unlink()


def _work(seed: int, first: int, last: int, pipe) -> None:
    import logging
    import warnings

    import torch

    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    files = seeds()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, last):
            pipe.send((number, run_case(seed, number, files, Path(folder))))


def run(cases: int, seed: int) -> tuple[Counter[str], list[tuple[int, Outcome]]]:
    """Run cases in a watched process; return the counts of outcomes and what went wrong, by number."""
    counts: Counter[str] = Counter()
    wrong, next_case = [], 0
    context = multiprocessing.get_context("spawn")
    while next_case < cases:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(seed, next_case, cases, theirs))
        worker.start()
        theirs.close()
        patience = 120 + LIMIT_S  # the imports
        while next_case < cases:
            try:
                found = ours.recv() if ours.poll(patience) else (next_case, Outcome("hang", f"over {LIMIT_S:g} s"))
            except EOFError:
                worker.join()
                found = (next_case, Outcome("death", f"exit code {worker.exitcode}"))
            number, result = found
            counts[result.kind] += 1
            if result.kind not in GOOD:
                wrong.append((number, result))
            next_case, patience = number + 1, LIMIT_S
            if result.kind in {"hang", "death"}:
                break
        worker.kill()
        worker.join()
    return counts, wrong


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts, wrong = run(arguments.cases, arguments.seed)
    print(", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())))  # noqa: T201
    for number, result in wrong:
        name, _ = case(arguments.seed, number, seeds())
        print(f"case {number} ({name}): {result.kind}: {result.detail[:300]}")  # noqa: T201
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
