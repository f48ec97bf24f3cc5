"""Runs that can be interrupted: a folder that belongs to one run, and rows that are kept as they are finished.

A run writes into a folder or a single file of its own. Its settings are recorded in the folder, so that it is resumed
only by the same command, and finished rows are appended to a partial file, one line of JSON each, that survives a kill
or a full disk.
"""

from __future__ import annotations

import json
import logging
import shutil
from array import array
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from monty.json import MontyEncoder

from icsg3d.errors import InputError
from icsg3d.files import locked, replacing, saving, sha256, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SETTINGS_FILE = "run.json"

_log = logging.getLogger(__name__)


@contextmanager
def run_folder(
    folder: Path, own: Sequence[str], settings: Mapping[str, Any], *, holds: str, resume: bool, overwrite: bool
) -> Iterator[bool]:
    """Make a folder for the results of a run, or resume one that was begun with the same settings; lock it meanwhile.

    Args:
        folder: Where; made if need be.
        own: Names of the files and folders that such a run writes.
        settings: What makes the run what it is; kept in the folder.
        holds: What the folder holds, for messages.
        resume: Take up what is there.
        overwrite: Remove what an earlier run left.

    Yields:
        Whether there is something to resume.

    Raises:
        InputError: if the folder holds another run, is being written to by one, or cannot be made.
    """
    made = not folder.exists()
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            resumed = _claim(folder, own, settings, holds=holds, resume=resume, overwrite=overwrite)
            try:
                yield resumed
            except BaseException:
                if not any((folder / name).exists() for name in own):  # nothing was finished
                    (folder / SETTINGS_FILE).unlink(missing_ok=True)
                raise
    finally:
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _claim(
    folder: Path, own: Sequence[str], settings: Mapping[str, Any], *, holds: str, resume: bool, overwrite: bool
) -> bool:
    names = (*own, SETTINGS_FILE)
    occupied = any((folder / name).exists() for name in names)
    if occupied:
        _check_kind(folder, holds)
    settings = {"holds": holds, **settings}
    if occupied and not (resume or overwrite):
        raise InputError(
            f"{folder} holds {holds} of an earlier run; continue it with --resume, replace them with --overwrite, "
            "or name another --out"
        )
    if occupied and overwrite:
        for name in names:
            _remove(folder / name)
    elif occupied:
        _check_settings(folder, json.loads(json.dumps(dict(settings))))  # tuples become lists on disk
        return True
    with saving(folder):
        write_atomically(folder / SETTINGS_FILE, json.dumps(dict(settings), indent=1).encode())
    return False


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of the run that wrote a folder; none where there is no record, or it is damaged."""
    try:
        settings = json.loads((folder / SETTINGS_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _check_kind(folder: Path, holds: str) -> None:
    """Refuse a folder that holds something else, so that nothing is removed that such a run did not write."""
    earlier = read_settings(folder)
    if earlier.get("holds", holds if earlier else None) != holds:
        raise InputError(f"{folder} holds files that no run for {holds} wrote; name another --out")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    earlier = read_settings(folder)
    names = [*settings, *(name for name in earlier if name not in settings)]
    changed = [name for name in names if name != "holds" and earlier.get(name) != settings.get(name)]
    if changed:
        raise InputError(
            f"{folder} was begun with another {', '.join(changed)}; repeat the command as it was, or use "
            "--overwrite or another --out"
        )


class PartialRows:
    """Finished rows of a run, appended to a file as they come: each line names the run and the row's place.

    A file is only ever appended to or replaced as a whole. Lines that a kill or a fault of the disk has damaged are
    dropped when the run is resumed, the others count. In memory is only where each row stands.

    Args:
        path: Of the file, which need not exist.
        key: What makes the run what it is: anything that JSON can hold.

    Attributes:
        rows: The finished rows by place, read from the file when they are asked for.
    """

    def __init__(self, path: Path, key: Any) -> None:
        self.path = path
        self.rows = _RowsOnDisk(path)
        self._run = sha256(json.dumps(key, sort_keys=True, cls=MontyEncoder).encode())[:16]

    def begin(self, *, resume: bool, others: Literal["refuse", "replace"] = "refuse") -> None:
        """Read what an interrupted run left, or begin a new file.

        Args:
            resume: Take up what is there.
            others: What becomes of a file of another run.

        Raises:
            InputError: if the file belongs to another run, or cannot be written.
        """
        self.rows = _RowsOnDisk(self.path)
        if not resume:
            with saving(self.path):
                self.path.unlink(missing_ok=True)
        if not self.path.is_file():
            return
        dropped, foreign = self._take_in()
        if foreign and others == "refuse":
            raise InputError(
                f"{self.path} was begun with other data, another model or other options, or these have changed since; "
                "repeat the command as it was, or leave out --resume to begin again"
            )
        if foreign:
            self.begin(resume=False)
        elif dropped:
            self._drop_damaged(dropped)

    def _take_in(self) -> tuple[int, bool]:
        """Find the rows of the file; return how many lines are damaged, and whether one belongs to another run."""
        dropped, position = 0, 0
        with saving(self.path), self.path.open("rb") as file:
            for line in file:
                row = _decoded(line)
                if row is None:
                    dropped += 1
                elif row["run"] != self._run:
                    return dropped, True
                else:
                    self.rows.place(_place(row["place"]), position)
                position += len(line)
        return dropped, False

    def _drop_damaged(self, dropped: int) -> None:
        """Write the file anew without damaged lines."""
        _log.warning("%s: %d damaged lines were dropped, %d rows are kept", self.path, dropped, len(self.rows))
        places = sorted((self.rows.position(place), place) for place in self.rows)
        whole = _RowsOnDisk(self.path)
        with saving(self.path), replacing(self.path) as file:
            for position, place in places:
                whole.place(place, file.tell())
                file.write(self.rows.line(position))
        self.rows = whole

    def add(self, place: Any, row: Any) -> None:
        """Keep a row, unless there is one for that place.

        Args:
            place: What identifies the row: a number, a text, or a tuple of those.
            row: Anything that monty can write as JSON.

        Raises:
            InputError: if it cannot be written; the file is left as it was before.
        """
        if place in self.rows:
            return
        line = json.dumps({"run": self._run, "place": place, "row": row}, cls=MontyEncoder).encode() + b"\n"
        size = self.path.stat().st_size if self.path.exists() else 0
        with saving(self.path):
            try:
                with self.path.open("ab") as file:
                    file.write(line)
            except OSError:
                if self.path.exists() and self.path.stat().st_size > size:
                    with self.path.open("rb+") as file:  # half a line is taken back
                        file.truncate(size)
                raise
        self.rows.place(place, size)

    def remove(self) -> None:
        """Delete the file: the run has finished."""
        self.rows = _RowsOnDisk(self.path)
        self.path.unlink(missing_ok=True)


class _RowsOnDisk(Mapping[Any, Any]):
    """Rows of a file of lines, of which only the positions are in memory; those of numbered rows in an array."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbered = array("q")
        self._others: dict[Any, int] = {}
        self._count = 0

    def place(self, place: Any, position: int) -> None:
        """Say where the row of a place begins, in bytes."""
        self._count += place not in self
        if not isinstance(place, int) or not 0 <= place < len(self._numbered) + _LARGEST_GAP:
            self._others[place] = position
            return
        if place >= len(self._numbered):
            self._numbered.extend([-1] * (place + 1 - len(self._numbered)))
        self._numbered[place] = position

    def position(self, place: Any) -> int:
        """Return where the row of a place begins, in bytes.

        Raises:
            KeyError: if there is none.
        """
        if isinstance(place, int) and 0 <= place < len(self._numbered) and self._numbered[place] >= 0:
            return self._numbered[place]
        return self._others[place]

    def line(self, position: int) -> bytes:
        """Return the line that begins at a position."""
        with self._path.open("rb") as file:
            file.seek(position)
            return file.readline()

    def __getitem__(self, place: Any) -> Any:
        position = self.position(place)
        with saving(self._path):
            row = _decoded(self.line(position))
        if row is None or _place(row["place"]) != place:
            raise InputError(f"{self._path} has changed while it was read; repeat the command with --resume")
        return row["row"]

    def __contains__(self, place: object) -> bool:
        try:
            self.position(place)
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[Any]:
        yield from (number for number, position in enumerate(self._numbered) if position >= 0)
        yield from self._others

    def __len__(self) -> int:
        return self._count


_LARGEST_GAP = 1 << 16
"""Numbers that may be missing before a numbered row for it to have its position in the array."""


def _place(place: Any) -> Any:
    return tuple(place) if isinstance(place, list) else place


def _decoded(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None where it is torn or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or set(content) != {"run", "place", "row"}:
        return None
    return content
