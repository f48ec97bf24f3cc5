"""Trainings are resumed from their own checkpoints only, and their time adds up."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

from icsg3d.errors import InputError
from icsg3d.files import saving, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

_FINGERPRINT_FILE = "training.sha256"
_SECONDS_FILE = "seconds.txt"


def begin_training(out: Path, fingerprint: str, *, resume: bool) -> None:
    """Make sure that a training is resumed from its own checkpoints only.

    Args:
        out: Folder of the training.
        fingerprint: A hash of all that the training depends on.
        resume: Whether to resume from what the folder holds.

    Raises:
        InputError: if those in the folder are of another training.
    """
    path = out / _FINGERPRINT_FILE
    if resume and path.is_file() and path.read_text().strip() != fingerprint:
        msg = f"{out} was begun with other data or options; repeat the command as it was, or leave out --resume"
        raise InputError(msg)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{fingerprint}\n".encode())


def all_seconds(out: Path, seconds: float, *, resume: bool) -> float:
    """Return the time of this run and of those it resumed, and remember it; a damaged record counts as nothing."""
    path = out / _SECONDS_FILE
    if resume:
        with contextlib.suppress(OSError, ValueError):
            earlier = float(path.read_text())
            seconds += earlier if 0 <= earlier < math.inf else 0.0
    with saving(path):
        write_atomically(path, f"{seconds:.0f}\n".encode())
    return seconds
