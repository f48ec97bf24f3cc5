"""One way to load crystals, whatever they are kept in: all of them, or chunk by chunk."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from icsg3d.arguments import whole_number
from icsg3d.crystals.reading import notes_of
from icsg3d.data.names import Names
from icsg3d.data.parts import joined
from icsg3d.data.readers import count_entries, crystal_files, iter_parts
from icsg3d.errors import InputError
from icsg3d.files import sha256_of_file
from icsg3d.refusals import Told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd
    from pymatgen.core import Structure

    from icsg3d.data.parts import Part

_log = logging.getLogger(__name__)

CHUNK = 2048
"""Entries that are read together, unless something else is asked for."""

_ALL = 2**62
"""Entries of a chunk that holds everything."""


@dataclass(frozen=True)
class CrystalTable:
    """Crystals with their names and whatever else is known of them.

    Attributes:
        ids: Name of each crystal, as the source has it; without one the number of its row.
        structures: The crystals.
        frame: The other columns, one row per crystal.
        skipped: What was left out, with the reason, by name. A name that is taken is numbered, as in ``mp-1 (2)``, so
            that each entry that was left out is there.
        sources: The files it was read from.
        source_sizes: For each file, the number of crystals in the source that it is, or is part of; in a chunk, of
            those in this chunk.
    """

    ids: list[str]
    structures: list[Structure]
    frame: pd.DataFrame
    skipped: dict[str, str]
    sources: tuple[Path, ...]
    source_sizes: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.structures)

    def digest(self) -> str:
        """Return a SHA-256 of the names and bytes of the files; of a data set that is no file, of its name alone."""
        return digest_of_files(self.sources)

    def head(self, count: int | None) -> CrystalTable:
        """Return the first crystals, all if ``count`` is None."""
        return replace(self, ids=self.ids[:count], structures=self.structures[:count], frame=self.frame.iloc[:count])


def load_structures(source: str | Path | Sequence[str | Path]) -> CrystalTable:
    """Load crystals from whatever they are kept in, or from several sources.

    A source is a dataframe in matminer's format (``.json``, ``.json.gz``); a list of candidates of ``icsg3d generate``;
    JSON lines (``.jsonl``, ``.jsonl.gz``); Parquet (``.parquet``); compact arrays (``.npz``); a table with a column
    ``cif`` (``.csv``, ``.csv.gz``); an ASE database (``.db``); extended XYZ of several frames; any other file that
    pymatgen or ASE reads as one crystal; a folder of such files; or the name of a data set that
    ``matminer.datasets.load_dataset`` knows, which may have to download it. Bad entries are left out and named in
    ``skipped``: there are as many entries as crystals and names in ``skipped`` together. What is to be known of how a
    crystal was read is logged, and stays with it (:func:`icsg3d.crystals.reading.notes_of`). Names of crystals are
    those of the source, even if they repeat; where numbers of rows stand in for them, they are different over all
    sources.

    Raises:
        InputError: if there is no such source, or no crystal in it.
    """
    [table] = _tables(source, _ALL)
    return table


def iter_tables(source: str | Path | Sequence[str | Path], size: int = CHUNK) -> Iterator[CrystalTable]:
    """Load crystals as :func:`load_structures` does, in chunks that are read one after another, so that memory is flat.

    JSON lines, Parquet, compact arrays, CSV tables, ASE databases, frames of XYZ and folders are read as they are
    needed; a dataframe in JSON and a data set of matminer are in memory as a whole. The same sources and size give the
    same chunks. Where there are several chunks, a number that stands in for a name is different from all names before
    it; those after it are not known yet.

    Args:
        source: One or several sources.
        size: Entries of a chunk, at most, good and bad ones.

    Yields:
        Tables of no more crystals and names in ``skipped`` than ``size`` together; there may be no crystal in one.

    Raises:
        InputError: if there is no such source, or no crystal in it; the last is known once its last chunk was read.
    """
    size = whole_number(size, "size", 1)
    return _tables(source, size)


def _tables(source: str | Path | Sequence[str | Path], size: int) -> Iterator[CrystalTable]:
    paths = _paths(source)
    names, notes = Names(), Told(_log)
    for parts in _gathered((part for path in paths for part in iter_parts(path, size)), size):
        table = _table(parts, names)
        parts.clear()
        said = ("; ".join(notes_of(structure)) for structure in table.structures)
        notes.noted(dict(zip(table.ids, said, strict=True)))
        yield table
        del table  # before the next one is made
    notes.end("of %d crystals there is something to be known")


def _paths(source: str | Path | Sequence[str | Path]) -> list[Path]:
    paths = [Path(part) for part in ([source] if isinstance(source, str | Path) else source)]
    if not paths:
        msg = "no data was given; give a file or folder"
        raise InputError(msg)
    return paths


def _gathered(parts: Iterable[Part], size: int) -> Iterator[list[Part]]:
    """Put parts together that make no more than a chunk."""
    waiting: list[Part] = []
    for part in parts:
        if waiting and sum(map(len, waiting)) + len(part) > size:
            yield waiting
            waiting = []
        waiting.append(part)
        del part
        if sum(map(len, waiting)) == size:  # nothing else has a place in it
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _table(parts: Sequence[Part], names: Names) -> CrystalTable:
    ids, skipped = names.of(
        [name for part in parts for name in part.ids],
        [named for part in parts for named in part.named],
        [each for part in parts for each in part.skipped],
    )
    return CrystalTable(
        ids,
        [structure for part in parts for structure in part.structures],
        joined(parts),
        skipped,
        tuple(path for part in parts for path in part.sources),
        tuple(len(part.ids) for part in parts for _ in part.sources),
    )


def count_crystals(source: str | Path | Sequence[str | Path]) -> int | None:
    """Return the number of entries of sources, good and bad ones, where it is known without reading the crystals.

    It is of Parquet, compact arrays, ASE databases and folders; None if there is another source among them.

    Raises:
        InputError: if a source is damaged.
    """
    counts = [count_entries(path) for path in _paths(source)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def digest_of(source: str | Path | Sequence[str | Path]) -> str:
    """Return what :meth:`CrystalTable.digest` gives of a source, without reading a crystal."""
    folders = ((path, crystal_files(path) if path.is_dir() else None) for path in _paths(source))
    return digest_of_files(
        file for path, names in folders for file in ([path] if names is None else (path / name for name in names))
    )


def digest_of_files(paths: Iterable[Path]) -> str:
    """Return a SHA-256 of the names and bytes of files, and of the names alone of those that are none."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {sha256_of_file(path) if path.is_file() else ''}\n".encode())
    return digest.hexdigest()
