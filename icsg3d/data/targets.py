"""From a table of crystals to graphs with the values of a property, checked before anything is trained."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icsg3d.crystals.structures import primitive_cell
from icsg3d.data.compact_arrays import reduced_formula
from icsg3d.errors import InputError
from icsg3d.progress import track
from icsg3d.refusals import usable
from icsg3d.representation.description import describe, described
from icsg3d.representation.graphs import CrystalGraph
from icsg3d.representation.moments import EnvironmentConfig
from icsg3d.training.data import PropertySet, load_graphs, save_graphs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.data.compact_arrays import CompactCrystals
    from icsg3d.data.sources import CrystalTable
    from icsg3d.models.targets import Property
    from icsg3d.representation.description import Description, DescriptionConfig
    from icsg3d.representation.environments import EnvironmentSet
    from icsg3d.representation.graphs import GraphSet

_SHOWN = 3

_GRAPHS_VERSION = 2
"""Raised whenever the same crystal and settings give another graph, so that old files are not taken."""


def is_held_out(formula: str, one_of: int = 10) -> bool:
    """Whether a formula is the one of so many that is held out to judge by: the same in every data set and session."""
    return int(hashlib.sha256(formula.encode()).hexdigest()[:8], 16) % one_of == 0


def held_out(formulas: Sequence[str], one_of: int = 10, own: np.ndarray | None = None) -> np.ndarray:
    """Return which crystals are held out to judge by, so that no formula is on both sides.

    Where the hash takes all or none of a few formulas, some are taken in alphabetical order; of a single formula, some
    crystals are.

    Args:
        formulas: Reduced formula of each crystal.
        one_of: One formula of so many is held out.
        own: Which crystals may judge, shape (n,); by default all.

    Returns:
        Truth values, shape (n,).
    """
    own = np.ones(len(formulas), dtype=bool) if own is None else own
    apart = np.array([is_held_out(formula, one_of) for formula in formulas], dtype=bool)
    if (apart & own).any() and (~apart & own).any():
        return apart
    names = sorted(set(np.asarray(formulas)[own]))
    if len(names) > 1:
        chosen = set(names[:: max(2, min(one_of, len(names)))])
        return np.array([formula in chosen for formula in formulas], dtype=bool)
    apart = np.zeros(len(formulas), dtype=bool)
    apart[:: max(2, len(formulas) // one_of)] = True
    return apart


def property_set(
    table: CrystalTable,
    target: Property,
    config: DescriptionConfig,
    *,
    scale: int = 0,
    skip_bad_rows: bool = False,
    cache: Path | None = None,
) -> tuple[PropertySet, dict[str, str]]:
    """Return graphs and values of a table's crystals, and what was left out with the reason.

    Graphs are of primitive cells: predictions do not depend on the cell, and the smallest is the fastest.

    Args:
        table: Crystals with a column named like the target.
        target: The property.
        config: Which atoms are neighbours.
        scale: Number of the scale the values are on; 0 is the property's own.
        skip_bad_rows: Leave out rows whose value is missing or out of range, instead of refusing the table.
        cache: Folder in which graphs are kept under a hash of crystals and settings.

    Raises:
        InputError: if the column is missing, holds no numbers, a value is missing or out of range, or none is left.
    """
    source = ", ".join(path.name for path in table.sources[:_SHOWN])
    values = _column(table, target.name, source)
    bad = _bad_values(values, target)
    if bad and not skip_bad_rows:
        first = "; ".join(f"{table.ids[row]}: {reason}" for row, reason in list(bad.items())[:_SHOWN])
        msg = (
            f"{len(bad)} of {len(table)} values of {target.name!r} in {source} cannot be learned ({first}); "
            "correct them or their unit, or leave the rows out with --skip-bad-rows"
        )
        raise InputError(msg)
    wanted = [row for row in range(len(table)) if row not in bad]
    cells = usable(track(wanted, f"graphs of {source}"), lambda row: primitive_cell(table.structures[row])[0])
    rows = [wanted[place] for place in cells.rows]
    graphs, good, reasons = _graphs(cells.results, config, cache)
    bad |= {wanted[place]: reason for place, reason in cells.refused.items()}
    bad |= {rows[place]: reason for place, reason in reasons.items()}
    skipped = {table.ids[row]: reason for row, reason in sorted(bad.items())}
    if graphs is None:
        raise _nothing_left(source, target)
    kept = [rows[place] for place in good]
    formulas = [table.structures[row].composition.reduced_formula for row in kept]
    ids = [table.ids[row] for row in kept]
    return PropertySet(graphs, values[kept], ids, formulas, np.full(len(kept), scale)), skipped


def _column(table: CrystalTable, name: str, source: str) -> np.ndarray:
    """Return a column of numbers.

    Raises:
        InputError: if it is missing or holds something else.
    """
    if name not in table.frame.columns:
        columns = ", ".join(str(c) for c in table.frame.columns if pd.api.types.is_numeric_dtype(table.frame[c]))
        msg = f"{source} has no column {name!r}; its columns of numbers are {columns or 'none'}"
        raise InputError(msg)
    try:
        return pd.to_numeric(table.frame[name]).to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        msg = f"the column {name!r} of {source} holds something that is no number ({error}); correct it"
        raise InputError(msg) from error


def _nothing_left(source: str, target: Property) -> InputError:
    return InputError(
        f"{source} holds no crystal with a value of {target.name!r} that can be learned; give another file"
    )


def compact_property_set(
    crystals: CompactCrystals,
    target: Property,
    config: DescriptionConfig,
    *,
    scale: int = 0,
    source: str = "the file",
    cache: Path | None = None,
) -> tuple[PropertySet, dict[str, str]]:
    """Return graphs and values of compact arrays, as :func:`property_set` does, and what could not be used.

    Crystals without a value are left out without a word: such files have columns that few crystals fill. Cells are
    taken as they are, which is primitive where they were written so.

    Raises:
        InputError: if there is no such column, a value is out of range, or no crystal has one.
    """
    values = crystals.column(target.name)
    if values is None:
        msg = f"{source} has no column {target.name!r}; it has {', '.join(sorted(crystals.columns)) or 'none'}"
        raise InputError(msg)
    known = np.flatnonzero(np.isfinite(values))
    bad = {int(known[row]): reason for row, reason in _bad_values(values[known], target).items()}
    rows = [int(row) for row in known if row not in bad]
    graphs, good, reasons = _graphs([crystals.crystal(row) for row in track(rows, f"cells of {source}")], config, cache)
    bad |= {rows[place]: reason for place, reason in reasons.items()}
    if graphs is None:
        raise _nothing_left(source, target)
    kept = [rows[place] for place in good]
    formulas = [reduced_formula(crystals.crystal(row).numbers) for row in kept]
    ids = [crystals.ids[row] for row in kept]
    skipped = {crystals.ids[row]: reason for row, reason in sorted(bad.items())}
    return PropertySet(graphs, values[kept], ids, formulas, np.full(len(kept), scale)), skipped


def _bad_values(values: np.ndarray, target: Property) -> dict[int, str]:
    reasons = {}
    for row, value in enumerate(values):
        if not np.isfinite(value):
            reasons[row] = "no value"
        elif not target.low <= value <= target.high:
            unit = f" {target.unit}" if target.unit else ""
            reasons[row] = f"{value:g}{unit} is outside {target.low:g} to {target.high:g}{unit}"
    return reasons


def _graphs(
    crystals: Sequence[CrystalArrays], config: DescriptionConfig, cache: Path | None
) -> tuple[GraphSet | EnvironmentSet | None, list[int], dict[int, str]]:
    """Return the graphs (None if there are none), which crystals they are of, and why the others have none."""
    path = (
        None
        if cache is None or isinstance(config, EnvironmentConfig)
        else cache / f"graphs-{_digest(crystals, config)}.npz"
    )
    if path is not None and path.is_file():
        return load_graphs(path), list(range(len(crystals))), {}
    good, made, reasons = usable(crystals, lambda crystal: _compact(describe(crystal, config)))
    if not made:
        return None, good, reasons
    graphs = described(made)
    if path is not None and not reasons:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_graphs(graphs, path)
    return graphs, good, reasons


def _compact(made: Description) -> Description:
    """Return environments in 16 bits, so that those of many crystals fit into memory."""
    if isinstance(made, CrystalGraph):
        return made
    return dataclasses.replace(made, moments=made.moments.astype(np.float16))


def _digest(crystals: Sequence[CrystalArrays], config: DescriptionConfig) -> str:
    state = hashlib.sha256(f"{_GRAPHS_VERSION} {config!r}".encode())
    for crystal in crystals:
        for array in (crystal.numbers, crystal.frac_coords, crystal.lattice):
            state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]


def check_learnable(training: PropertySet, target: Property, batch_size: int) -> None:
    """Refuse crystals that nothing can be learned from.

    Raises:
        InputError: if there are fewer than eight crystals (or a batch, if that is smaller), or all values are equal.
    """
    own = training.values[training.scales == 0]
    if len(own) < min(batch_size, 8):
        msg = f"{len(own)} crystals with a value of {target.name!r} are too few to learn from; give more"
        raise InputError(msg)
    if np.ptp(own) == 0:
        msg = f"all {len(own)} values of {target.name!r} are {own[0]:g}; there is nothing to learn from a constant"
        raise InputError(msg)
