"""How well Algorithm S1 finds the atoms of true species maps; Figure S2 of Court et al. 2020."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.crystals.structures import primitive_cell, to_arrays
from icsg3d.errors import InputError
from icsg3d.files import write_atomically
from icsg3d.progress import task
from icsg3d.representation.segmentation import SegmentationParameters, Sites, segment_batch
from icsg3d.representation.voxels import VoxelConfig, voxelize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pymatgen.core import Structure

    from icsg3d.evaluation.clustering import ClusteringParameters

_BATCH = 64
"""Crystals drawn and segmented at once."""

_S1 = "Algorithm S1"


@dataclass(frozen=True)
class CrystalResult:
    """What was found in one crystal.

    Attributes:
        material_id: Its name.
        formula: Its formula.
        atoms: True number of atoms.
        found: Number found.
        species_right: Whether the number is right and each atom has the species of the true atom it lies next to.
        site_errors: Distances of found from true atoms in angstrom, nearest images, paired for the smallest sum;
            shape (N,), empty unless the number is right.
    """

    material_id: str
    formula: str
    atoms: int
    found: int
    species_right: bool
    site_errors: np.ndarray


@dataclass(frozen=True)
class SegmentationReport:
    """What was found in many crystals.

    Attributes:
        rows: One result for each crystal.
        seconds: Time that the segmentation took, without drawing the maps.
        compare: Reports of other methods on the same maps, by name.
    """

    rows: list[CrystalResult]
    seconds: float
    compare: dict[str, SegmentationReport] = field(default_factory=dict)

    @property
    def crystals(self) -> int:
        """Number of crystals."""
        return len(self.rows)

    @property
    def atom_count_right(self) -> float:
        """Share of crystals with the right number of atoms."""
        return float(np.mean([row.found == row.atoms for row in self.rows]))

    @property
    def species_right(self) -> float:
        """Share of crystals with the right number and all species right."""
        return float(np.mean([row.species_right for row in self.rows]))

    @property
    def site_errors(self) -> np.ndarray:
        """Distances of all atoms of the crystals with the right number, in angstrom."""
        return np.concatenate([row.site_errors for row in self.rows])

    @property
    def mean_site_error(self) -> float | None:
        """Mean of the site errors in angstrom; None if no crystal has the right number of atoms."""
        return float(self.site_errors.mean()) if self.site_errors.size else None

    @property
    def worst_site_error(self) -> float | None:
        """Largest of the site errors in angstrom; None if no crystal has the right number of atoms."""
        return float(self.site_errors.max()) if self.site_errors.size else None

    @property
    def milliseconds_per_crystal(self) -> float:
        """Time of the segmentation."""
        return 1e3 * self.seconds / self.crystals

    @property
    def count_difference(self) -> dict[int, int]:
        """Crystals by true minus found number of atoms, the histogram of Figure S2."""
        return dict(sorted(Counter(row.atoms - row.found for row in self.rows).items()))

    def as_dict(self) -> dict[str, Any]:
        """Return the figures under the keys of ``segmentation.json``."""
        figures: dict[str, Any] = {
            "crystals": self.crystals,
            "atom_count_right": self.atom_count_right,
            "species_right": self.species_right,
            "mean_site_error": self.mean_site_error,
            "milliseconds_per_crystal": self.milliseconds_per_crystal,
            "worst_site_error": self.worst_site_error,
            "count_difference": {str(difference): count for difference, count in self.count_difference.items()},
        }
        if self.compare:
            figures["compare"] = {name: report.as_dict() for name, report in self.compare.items()}
        return figures


def evaluate_segmentation(
    structures: Sequence[Structure],
    config: VoxelConfig | None = None,
    params: SegmentationParameters | None = None,
    *,
    ids: Sequence[str] | None = None,
    primitive: bool = False,
    compare: bool = False,
    clustering: ClusteringParameters | None = None,
) -> SegmentationReport:
    """Draw true species maps of crystals, find their atoms, and compare.

    Args:
        structures: Ordered crystals, drawn in the cell in which they are given.
        config: The grid; by default the ``periodic`` preset.
        params: Of the segmentation; by default those of the kind of grid.
        ids: Names of the crystals; by default their numbers.
        primitive: Whether crystals are reduced to their primitive cells first.
        compare: Whether DBSCAN and K-means also find atoms in the same maps (some tenths of a second a crystal).
        clustering: Settings of these.

    Raises:
        InputError: if there is no crystal, or one is disordered or has an unknown element.
    """
    if not len(structures):
        raise InputError("there is no crystal to segment; give a data set with at least one")
    config = config or VoxelConfig.preset("periodic")
    names = [str(number) for number in range(len(structures))] if ids is None else [str(name) for name in ids]
    crystals = [_arrays(s, name, primitive=primitive) for s, name in zip(structures, names, strict=True)]
    methods: dict[str, Callable[..., list[Sites]]] = {
        _S1: lambda species, lattices: segment_batch(species, config, lattices, params)
    }
    if compare:
        methods |= _other_methods(config, clustering)
    found, seconds = _segmented(crystals, config, methods)
    formulas = [structure.composition.reduced_formula for structure in structures]
    reports = {
        name: SegmentationReport(
            [compare_sites(*row) for row in zip(names, formulas, crystals, found[name], strict=True)], seconds[name]
        )
        for name in methods
    }
    first = reports.pop(_S1)
    return SegmentationReport(first.rows, first.seconds, reports)


def _segmented(
    crystals: Sequence[CrystalArrays], config: VoxelConfig, methods: Mapping[str, Callable[..., list[Sites]]]
) -> tuple[dict[str, list[Sites]], dict[str, float]]:
    """Return the sites that each method finds in the maps of all crystals, and the seconds it took."""
    found: dict[str, list[Sites]] = {name: [] for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    with task("segmenting", total=len(crystals)) as running:
        for start in range(0, len(crystals), _BATCH):
            batch = CrystalBatch.from_arrays(crystals[start : start + _BATCH], dtype=torch.float64)
            species, lattices = voxelize(batch, config).species.numpy(), batch.lattice.numpy()
            for name, method in methods.items():
                begin = time.perf_counter()
                found[name] += method(species, lattices)
                seconds[name] += time.perf_counter() - begin
            running.advance(len(batch))
    return found, seconds


def compare_sites(material_id: str, formula: str, crystal: CrystalArrays, sites: Sites) -> CrystalResult:
    """Pair found with true atoms of a crystal so that the sum of their distances is smallest."""
    from pymatgen.core import Lattice

    errors, right = np.zeros(0), False
    if len(sites) == len(crystal):
        distances = Lattice(crystal.lattice).get_all_distances(crystal.frac_coords, sites.frac_coords)
        true, near = linear_sum_assignment(distances)
        errors = distances[true, near]
        right = bool((crystal.numbers[true] == sites.numbers[near]).all())
    return CrystalResult(material_id, formula, len(crystal), len(sites), right, errors)


def write_report(report: SegmentationReport, out_dir: Path | str) -> None:
    """Write ``segmentation.json``, ``segmentation.csv`` (a row for each crystal) and ``figure_s2.png``.

    Raises:
        InputError: if the folder cannot be written.
    """
    folder = _writable(Path(out_dir))
    write_atomically(folder / "figure_s2.png", _figure_s2(report))
    write_atomically(folder / "segmentation.csv", _table(report))
    figures = json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "segmentation.json", figures.encode())


def run(
    structures: Sequence[Structure],
    ids: Sequence[str],
    out_dir: Path | str,
    preset: str = "periodic",
    *,
    grid: int | None = None,
    primitive: bool = False,
    compare: bool = False,
) -> SegmentationReport:
    """Evaluate the segmentation and write the report: ``icsg3d evaluate segmentation``.

    Args:
        structures: Ordered crystals.
        ids: Their names.
        out_dir: Folder of the report; made if need be.
        preset: ``periodic`` or ``paper``, of the grid and the segmentation.
        grid: Points along each axis, if not the preset's.
        primitive: Whether crystals are reduced to their primitive cells first.
        compare: Whether DBSCAN and K-means are run on the same maps.

    Raises:
        InputError: if a crystal, the preset, the grid or the folder cannot be used.
    """
    params = SegmentationParameters.preset(preset)  # type: ignore[arg-type] # checked there
    changes = {} if grid is None else {"grid": grid}
    try:
        config = VoxelConfig.preset(preset, **changes)  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(str(error)) from error
    _writable(Path(out_dir))  # before the work, not after it
    report = evaluate_segmentation(structures, config, params, ids=ids, primitive=primitive, compare=compare)
    write_report(report, out_dir)
    return report


def _arrays(structure: Structure, name: str, *, primitive: bool) -> CrystalArrays:
    try:
        return primitive_cell(structure)[0] if primitive else to_arrays(structure)
    except InputError as error:
        raise InputError(f"crystal {name} cannot be drawn: {error}") from error


def _other_methods(config: VoxelConfig, params: ClusteringParameters | None) -> dict[str, Callable[..., list[Sites]]]:
    from icsg3d.evaluation.clustering import ClusteringParameters, dbscan_sites, kmeans_sites

    settings = params or ClusteringParameters()
    return {
        "DBSCAN": lambda species, _: [dbscan_sites(one, config, settings) for one in species],
        "K-means": lambda species, _: [kmeans_sites(one, config, settings) for one in species],
    }


def _writable(folder: Path) -> Path:
    """Return a folder, made if need be, into which a file can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".icsg3d-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise InputError(f"the folder {folder} cannot be written ({reason}); choose another with --out") from error
    return folder


def _table(report: SegmentationReport) -> bytes:
    """Return the CSV: a row for each crystal, errors empty where the number of atoms is wrong."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    others = list(report.compare)
    writer.writerow(
        ["material_id", "formula", "atoms", "found", "species_right", "mean_site_error", "worst_site_error"]
        + [f"found_{name.lower().replace('-', '')}" for name in others]
    )
    for number, row in enumerate(report.rows):
        errors = row.site_errors
        known = [f"{errors.mean():.5f}", f"{errors.max():.5f}"] if errors.size else ["", ""]
        more = [report.compare[name].rows[number].found for name in others]
        writer.writerow([row.material_id, row.formula, row.atoms, row.found, row.species_right, *known, *more])
    return text.getvalue().encode()


def _figure_s2(report: SegmentationReport) -> bytes:
    """Return a PNG with the histogram of true minus found atoms for each method."""
    reports = {_S1: report, **report.compare}
    differences = [difference for one in reports.values() for difference in one.count_difference]
    low, high = min(-3, *differences), max(3, *differences)
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(3.6 * len(reports), 3.2), layout="constrained")
        axes = figure.subplots(1, len(reports), sharex=True, sharey=True, squeeze=False)[0]
        for panel, (name, one) in zip(axes, reports.items(), strict=True):
            counts = one.count_difference
            panel.bar(list(counts), [100 * count / one.crystals for count in counts.values()], width=0.8)
            panel.set(title=f"{name}: {100 * one.atom_count_right:.1f} % right", xlabel="true minus found atoms")
            panel.set_xlim(low - 0.7, high + 0.7)
        axes[0].set_ylabel(f"share of {report.crystals} crystals (%)")
        image = io.BytesIO()
        figure.savefig(image, dpi=150, format="png")
    return image.getvalue()
