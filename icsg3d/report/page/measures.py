"""Figures of evaluations in words: what each is called, in which unit, and how its number is written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from icsg3d.report.page.rows import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHARES = {
    "decoded": "decoded to a crystal",
    "match_rate": "match rate",
    "match_rate_valid": "match rate, invalid compositions as misses",
    "all_species_right": "all species right",
    "species_right": "species right",
    "atom_count_right": "number of atoms right",
    "structural_validity": "structural validity",
    "compositional_validity": "compositional validity",
    "compositional_validity_strict": "compositional validity, today's oxidation states",
    "cov_recall": "coverage, recall (COV-R)",
    "cov_precision": "coverage, precision (COV-P)",
    "unique": "unique",
    "novel": "novel",
    "in_bin": "in the bin asked for",
    "near_bin": "in it or a neighbour",
    "stable": "stable",
    "metastable": "at most 0.1 eV/atom above the hull",
    "chgnet_failed": "not relaxed by CHGNet",
}
"""Shares, which are written in percent."""

_NUMBERS = {
    "rmse": ("root-mean-square displacement / (V/N)^(1/3)", ""),
    "length_error": ("error of a, b and c", "Å"),
    "angle_error": ("error of the cell angles", "°"),
    "position_error_true": ("from a true site to the nearest found", "Å"),
    "position_error_found": ("from a found site to the nearest true", "Å"),
    "mean_site_error": ("mean error of a site", "Å"),
    "worst_site_error": ("largest error of a site", "Å"),
    "milliseconds_per_crystal": ("time for a crystal", "ms"),
    "wdist_density": ("Wasserstein distance of densities", "g/cm³"),
    "wdist_density_mean": ("– mean over choices of 1,000", "g/cm³"),
    "wdist_num_elements": ("Wasserstein distance of numbers of elements", ""),
    "wdist_num_elements_mean": ("– mean over choices of 1,000", ""),
    "wdist_energy": ("Wasserstein distance of predicted formation energies", "eV/atom"),
    "wdist_energy_mean": ("– mean over choices of 1,000", "eV/atom"),
    "rank_correlation": ("rank correlation of bin and energy", ""),
    "median_above_hull": ("median energy above the hull", "eV/atom"),
}
"""Labels and units of other numbers, which have four decimal places."""

_BY_SIZE = re.compile(r"match_rate_\w+_atoms")
_SUCCESS = re.compile(r"sr(\d+)(_first)?")


def in_words(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return labels and values; those of nested dictionaries stand behind the names of these."""
    found: list[tuple[str, str]] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            found += in_words(value, f"{prefix}{_spaced(name)}: ")
        else:
            label, shown = _labelled(str(name), value)
            found.append((prefix + label, shown))
    return found


def _labelled(name: str, value: Any) -> tuple[str, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    success = _SUCCESS.fullmatch(name)
    if success:
        label = f"finds among the lowest {success[1]} %{', first choice' if success[2] else ''}"
    else:
        label = _SHARES.get(name) or _NUMBERS.get(name, (_spaced(name),))[0]
    if number and (name in _SHARES or success or _BY_SIZE.fullmatch(name)):
        return label, f"{100 * value:.2f} %"
    if number and name in _NUMBERS:
        unit = _NUMBERS[name][1]
        return label, f"{value:.4f}" + (f" {unit}" if unit else "")
    return label, _shown(value)


def _spaced(name: str) -> str:
    return str(name).replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(each) for each in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "unknown" if value is None else str(plain(value))
