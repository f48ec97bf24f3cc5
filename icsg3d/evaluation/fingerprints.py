"""Fingerprints of crystals, to compare sets of crystals (Xie et al. 2021, arXiv:2110.06197)."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed

from icsg3d.errors import InputError
from icsg3d.files import sha256, write_atomically
from icsg3d.progress import track

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymatgen.core import Structure

_log = logging.getLogger(__name__)

_LENGTHS = (61, 132)
"""Of the two parts of a fingerprint."""


@dataclass(frozen=True)
class Fingerprint:
    """What stands for a crystal.

    Attributes:
        sites: Mean over sites of CrystalNN order parameters, shape (61,).
        composition: Magpie's statistics of element properties in units of their spread over the benchmark's training
            crystals, unknown ones at the mean, shape (132,).
    """

    sites: np.ndarray
    composition: np.ndarray


@cache
def _featurizers() -> tuple[Any, Any]:
    try:
        from matminer.featurizers.composition import ElementProperty
        from matminer.featurizers.site import CrystalNNFingerprint
        from matminer.featurizers.structure import SiteStatsFingerprint
    except ImportError as error:
        msg = "fingerprints need matminer; install it with pip install 'icsg3d[evaluate]'"
        raise InputError(msg) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Values that Magpie lacks stay unknown, as they were when the benchmark's means were taken.
        magpie = ElementProperty.from_preset("magpie", impute_nan=False)
    return SiteStatsFingerprint(CrystalNNFingerprint.from_preset("ops"), stats=("mean",)), magpie


@cache
def _scaler() -> tuple[np.ndarray, np.ndarray]:
    table = json.loads((files("icsg3d.evaluation") / "composition_scaler.json").read_text())
    if table["features"] != _featurizers()[1].feature_labels():
        msg = "this matminer has other Magpie features than the benchmark; install matminer 0.9 or 0.10"
        raise InputError(msg)
    return np.array(table["mean"]), np.array(table["std"])


def fingerprint(structure: Structure) -> Fingerprint | None:
    """Return the fingerprint of a crystal, None if one of its sites has no neighbours."""
    mean, std = _scaler()
    sites, magpie = _featurizers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            by_site = np.array(sites.featurize(structure), dtype=float)
        except Exception:  # noqa: BLE001 (CrystalNN and Voronoi cells raise whatever they like on odd crystals)
            return None
        composition = (np.array(magpie.featurize(structure.composition), dtype=float) - mean) / std
    return Fingerprint(by_site, np.nan_to_num(composition))


def fingerprints(structures: Sequence[Structure], jobs: int = -1) -> Iterator[Fingerprint | None]:
    """Return fingerprints one after the other, several at a time.

    Args:
        structures: Crystals.
        jobs: Processes; -1 for one for each core.
    """
    parallel = Parallel(n_jobs=jobs, return_as="generator")
    result: Iterator[Fingerprint | None] = parallel(delayed(fingerprint)(structure) for structure in structures)
    return result


def kept_fingerprints(
    structures: Sequence[Structure], digest: str, jobs: int = -1, description: str = "fingerprints"
) -> list[Fingerprint | None]:
    """Return fingerprints of crystals that many runs compare with; the first run keeps them on disk for the others.

    They are in ``fingerprints`` of the folder that ``ICSG3D_CACHE`` names, else of ``~/.cache/icsg3d``; what cannot be
    kept there is found anew each time.

    Args:
        structures: Crystals.
        digest: Of their content: with it, and with the versions of pymatgen and matminer, they are known again.
        jobs: Processes; -1 for one for each core.
        description: Of the work, for the progress.
    """
    key = sha256(" ".join([digest, version("pymatgen"), version("matminer"), "1"]).encode())
    folder = Path(os.environ.get("ICSG3D_CACHE") or "~/.cache/icsg3d").expanduser()
    path = folder / "fingerprints" / f"{key}.npz"
    kept = _read_kept(path, len(structures))
    if kept is not None:
        _log.info("%s are those of an earlier run, in %s", description, path)
        return kept
    found = list(track(fingerprints(structures, jobs), description, len(structures)))
    _keep(path, found)
    return found


def _read_kept(path: Path, count: int) -> list[Fingerprint | None] | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            sites, compositions = (file[name].astype(float) for name in ("sites", "compositions"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    if (sites.shape, compositions.shape) != tuple((count, length) for length in _LENGTHS):
        return None
    rows = zip(sites, compositions, strict=True)
    return [None if np.isnan(first).any() else Fingerprint(first, second) for first, second in rows]


def _keep(path: Path, found: Sequence[Fingerprint | None]) -> None:
    sites, compositions = (np.full((len(found), length), np.nan) for length in _LENGTHS)
    for row, each in enumerate(found):
        if each is not None:
            sites[row], compositions[row] = each.sites, each.composition
    buffer = io.BytesIO()
    np.savez_compressed(buffer, sites=sites, compositions=compositions)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        _log.info("the fingerprints are not kept for another run (%s)", error)
