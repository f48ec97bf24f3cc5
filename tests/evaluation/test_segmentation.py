from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.errors import InputError
from icsg3d.evaluation.segmentation import compare_sites, evaluate_segmentation, run
from icsg3d.representation.segmentation import SegmentationParameters, Sites
from icsg3d.representation.voxels import VoxelConfig

DATA = Path(os.environ.get("ICSG3D_DATA", Path(__file__).parents[3] / "shared" / "data"))

A_SITES = ("Ba", "Sr", "Ca", "K", "La", "Cs", "Bi")
B_SITES = ("Ti", "Zr", "Nb", "Fe", "Ta", "Al")
ANIONS = ("O", "F", "N", "S")


FACES = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def crystal_of(edge, sites, rng, shift):
    """Cubic cell of {place: element}, each atom moved by 0.03 angstrom along each axis, all by any vector if asked."""
    places = np.array(list(sites)) + rng.normal(0, 0.03 / edge, (len(sites), 3)) + shift * rng.random(3)
    return Structure(Lattice.cubic(edge), list(sites.values()), places, to_unit_cell=True)


def face_centred(sites):
    return {tuple(face + place): element for place, element in sites.items() for face in FACES}


def perovskites(rng, shift):
    for a in A_SITES:
        for b in B_SITES:
            for x in ANIONS:
                sites = {(0.5, 0.5, 0.5): a, (0, 0, 0): b, (0.5, 0, 0): x, (0, 0.5, 0): x, (0, 0, 0.5): x}
                yield crystal_of(4.6 if x == "S" else 4.0, sites, rng, shift)


def rock_salts(rng, shift):
    for cation, edge in (("Na", 5.6), ("Mg", 4.2), ("K", 6.3), ("Fe", 4.3), ("Ag", 5.5), ("Cs", 6.0)):
        for anion in ("O", "F", "Cl", "S"):
            yield crystal_of(edge, face_centred({(0, 0, 0): cation, (0.5, 0.5, 0.5): anion}), rng, shift)


def heuslers(rng, shift):
    for x in ("Co", "Ni", "Pd", "Rh"):
        for y in ("Ti", "Mn", "Fe", "Zr"):
            for z in ("Al", "Sn", "In"):
                sites = {(0.25, 0.25, 0.25): x, (0.75, 0.75, 0.75): x, (0, 0, 0): y, (0.5, 0.5, 0.5): z}
                yield crystal_of(6.2, face_centred(sites), rng, shift)


def made(shift):
    rng = np.random.default_rng(0)
    return {
        "perovskites": [*perovskites(rng, shift)],
        "rock salts": [*rock_salts(rng, shift)],
        "Heuslers": [*heuslers(rng, shift)],
    }


@pytest.fixture(scope="module")
def crystals():
    return made(shift=0)


def load(name, count=None):
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"there is no {path}; set ICSG3D_DATA")
    frame = json.loads(gzip.decompress(path.read_bytes()))
    column = frame["columns"].index("structure")
    return [Structure.from_dict(row[column]) for row in frame["data"][:count]]


def assert_good(report, error=0.02):
    assert report.atom_count_right >= 0.995
    assert report.species_right >= 0.995
    assert report.mean_site_error <= error


KINDS = ["perovskites", "rock salts", "Heuslers"]


@pytest.mark.parametrize("kind", KINDS)
def test_made_crystals(crystals, kind):
    # Displacements of a tenth of a grid spacing hardly show in ions of 0.7 angstrom, thirty voxels in Heuslers.
    assert_good(evaluate_segmentation(crystals[kind]), error=0.04 if kind == "Heuslers" else 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_made_crystals_anywhere_in_the_cell(kind):
    assert_good(evaluate_segmentation(made(shift=1)[kind]), error=0.04)


def test_made_crystals_on_the_paper_grid(crystals):
    some = crystals["perovskites"][::10] + crystals["rock salts"][::8] + crystals["Heuslers"][::16]
    assert_good(evaluate_segmentation(some, VoxelConfig.preset("paper")))


def test_primitive_cells_on_a_coarse_grid():
    rock_salt = face_centred({(0, 0, 0): "Na", (0.5, 0.5, 0.5): "Cl"})
    heusler = face_centred({(0.25,) * 3: "Co", (0.75,) * 3: "Co", (0, 0, 0): "Ti", (0.5,) * 3: "Al"})
    cells = [Structure(Lattice.cubic(5.7), list(s.values()), list(s)) for s in (rock_salt, heusler)]
    config = VoxelConfig.preset("periodic", grid=12)
    report = evaluate_segmentation(cells, config, primitive=True)
    assert [row.atoms for row in report.rows] == [2, 4]
    assert_good(report)


@pytest.mark.parametrize(("name", "count"), [("icsg3d_val.json.gz", None), ("perov5_train.json.gz", 1000)])
def test_data_sets(name, count):
    structures = load(name, count)
    report = evaluate_segmentation(structures)
    assert report.crystals == (count or 342)
    assert_good(report)


def test_convexity_of_the_paper_loses_touching_atoms_of_perovskites():
    structures = load("perov5_train.json.gz", 60)
    paper = SegmentationParameters.preset("paper", per_species=False)
    report = evaluate_segmentation(structures, VoxelConfig.preset("paper"), paper)
    assert report.atom_count_right < 0.9
    assert min(report.count_difference) >= 0  # atoms are missed, none invented


# Figures of the report


def test_sites_are_paired_over_the_faces():
    crystal = CrystalArrays(np.array([8, 22]), np.array([[0.01, 0.5, 0.5], [0.5, 0.5, 0.5]]), np.eye(3) * 4)
    sites = Sites(np.array([22, 8]), np.array([[0.5, 0.5, 0.55], [0.98, 0.5, 0.5]]), np.array([9, 9]))
    row = compare_sites("x", "TiO", crystal, sites)
    assert row.site_errors == pytest.approx([0.12, 0.2])
    assert row.species_right
    swapped = compare_sites("x", "TiO", crystal, Sites(sites.numbers[::-1], sites.frac_coords, sites.voxels))
    assert not swapped.species_right
    fewer = compare_sites("x", "TiO", crystal, Sites(sites.numbers[:1], sites.frac_coords[:1], sites.voxels[:1]))
    assert (fewer.found, fewer.species_right, fewer.site_errors.size) == (1, False, 0)


def test_wrong_counts_are_reported():
    # 0.66 angstrom apart, less than the radius of hydrogen: merged into one, on purpose.
    close = Structure(Lattice.cubic(6), ["H", "H"], [[0.5] * 3, [0.5, 0.5, 0.61]])
    far = Structure(Lattice.cubic(6), ["Cs"], [[0.5] * 3])
    report = evaluate_segmentation([close, far])
    assert report.count_difference == {0: 1, 1: 1}
    assert (report.atom_count_right, report.species_right) == (0.5, 0.5)
    alone = evaluate_segmentation([close])
    assert alone.as_dict()["mean_site_error"] is None


def test_run_writes_the_report(crystals, tmp_path):
    structures = crystals["perovskites"][:3] + crystals["Heuslers"][:1]
    report = run(structures, list("abcd"), tmp_path / "out", compare=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "figure_s2.png",
        "segmentation.csv",
        "segmentation.json",
    ]
    figures = json.loads((tmp_path / "out" / "segmentation.json").read_text())
    common = {"crystals", "atom_count_right", "species_right", "mean_site_error", "milliseconds_per_crystal"}
    assert set(figures) == common | {"worst_site_error", "count_difference", "compare"}
    assert figures["crystals"] == 4
    assert figures["count_difference"] == {"0": 4}
    assert figures["milliseconds_per_crystal"] > 0
    assert set(figures["compare"]) == {"DBSCAN", "K-means"}
    # Touching atoms are one cluster of DBSCAN, so it finds fewer.
    assert figures["compare"]["DBSCAN"]["atom_count_right"] < 1
    assert min(map(int, figures["compare"]["DBSCAN"]["count_difference"])) >= 0
    with (tmp_path / "out" / "segmentation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["material_id"] for row in rows] == list("abcd")
    assert [int(row["found"]) for row in rows] == [5, 5, 5, 16]
    assert {"found_dbscan", "found_kmeans"} <= set(rows[0])
    assert float(rows[0]["mean_site_error"]) == pytest.approx(report.rows[0].site_errors.mean(), abs=1e-5)
    assert (tmp_path / "out" / "figure_s2.png").read_bytes().startswith(b"\x89PNG")


def test_clusters_of_separate_atoms_are_atoms(crystals):
    separate = Structure(Lattice.cubic(6), ["Na", "O", "Mg"], [[0, 0, 0], [0.5, 0.5, 0.02], [0, 0.5, 0.5]])
    report = evaluate_segmentation([separate], compare=True)
    for other in report.compare.values():
        assert other.species_right == 1
        assert other.mean_site_error < 0.1


# Input that cannot be used


def test_no_crystals():
    with pytest.raises(InputError, match="no crystal"):
        evaluate_segmentation([])


def test_disordered_crystal_is_named(tmp_path):
    disordered = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0] * 3])
    with pytest.raises(InputError, match="crystal salt"):
        run([disordered], ["salt"], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_preset_small_grid_and_unwritable_folder(crystals, tmp_path):
    structures = crystals["rock salts"][:1]
    with pytest.raises(InputError, match="papre"):
        run(structures, ["a"], tmp_path, preset="papre")
    with pytest.raises(InputError, match="at least 4"):
        run(structures, ["a"], tmp_path, grid=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        run(structures, ["a"], tmp_path / "file" / "out")
