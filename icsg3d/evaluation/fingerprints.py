"""Fingerprints of crystals, to compare sets of crystals (Xie et al. 2021, arXiv:2110.06197)."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymatgen.core import Structure


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
