"""Models that the package ships, each in a folder of its name: sizes, weights, card, training crystals."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import logging
import zlib
from pathlib import Path

from icsg3d.errors import InputError
from icsg3d.files import write_atomically
from icsg3d.models.checkpoints import CONFIG_FILE, read_format
from icsg3d.models.targets import property_named

CARD_FILE = "README.md"
IDS_FILE = "training_crystals.csv.gz"

_FOLDER = Path(__file__).parent

_log = logging.getLogger(__name__)


def available(*formats: str) -> list[str]:
    """Return the names of the shipped models, all or those of some formats, in alphabetical order."""
    folders = sorted(path.parent for path in _FOLDER.glob(f"*/{CONFIG_FILE}"))
    return [folder.name for folder in folders if not formats or read_format(folder) in formats]


def find(model: str | Path, *formats: str) -> Path:
    """Return the folder of a model.

    Args:
        model: Name of a shipped model, or path of a folder; for a property a usual short name will do.
        formats: Of which a shipped model must have one.

    Raises:
        InputError: if there is neither.
    """
    if not isinstance(model, str | Path):
        raise InputError(f"a model is named by a text or a path, got {type(model).__name__}; give one of them")
    names = available(*formats)
    if str(model) in names:
        return _FOLDER / str(model)
    if Path(model).is_dir():
        return Path(model)
    meant = property_named(str(model), names)
    if meant is not None:
        _log.info("taking %s for %r", meant, str(model))
        return _FOLDER / meant
    near = difflib.get_close_matches(str(model), names, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    msg = f"there is no model {str(model)!r}; {guess}shipped are {', '.join(names) or 'none'}, or give a model's folder"
    raise InputError(msg)


def is_shipped(folder: Path) -> bool:
    """Whether the folder of a model, as :func:`find` returns it, is the package's."""
    return folder.resolve().parent == _FOLDER.resolve()


def write_training_crystals(folder: Path, ids: list[str], formulas: list[str]) -> None:
    """Write ids and reduced formulas of the training crystals beside a model, the same bytes for the same crystals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("material_id", "formula"))
    writer.writerows(zip(ids, formulas, strict=True))
    write_atomically(folder / IDS_FILE, gzip.compress(text.getvalue().encode(), mtime=0))


def training_formulas(folder: Path) -> frozenset[str] | None:
    """Return the reduced formulas of a model's training crystals; None if the folder does not list them.

    Raises:
        InputError: if the list is damaged.
    """
    found = training_crystals(folder)
    return None if found is None else frozenset(formula for _, formula in found)


def training_crystals(folder: Path) -> list[tuple[str, str]] | None:
    """Return names and reduced formulas of a model's training crystals; None if the folder does not list them.

    Raises:
        InputError: if the list is damaged.
    """
    path = folder / IDS_FILE
    if not path.is_file():
        return None
    try:
        with gzip.open(path, "rt", newline="") as file:
            return [(row["material_id"], row["formula"]) for row in csv.DictReader(file)]
    except (OSError, EOFError, KeyError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        msg = f"{path} is damaged ({error}); copy the model again"
        raise InputError(msg) from error
