"""Bytes of files, unpacked if need be, within limits: of a whole file, or piece by piece."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from icsg3d.errors import InputError
from icsg3d.limits import BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""First bytes of compressed files, and what unpacks them."""

DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, RecursionError, OverflowError, MemoryError)
"""What reading a damaged file raises."""

_BLOCK = 1 << 16
"""Bytes that are read at once."""


def check_regular(path: Path, *, whole: bool = True) -> None:
    """Refuse what is no file to be read to its end, such as a pipe, a device or a socket.

    Args:
        path: Of the file.
        whole: Whether it is to be in memory as a whole, so that its size matters.

    Raises:
        InputError: if it is none, or too large.
        OSError: if there is no such file, or it cannot be looked at.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is no regular file but a pipe, device or folder; write its content to a file first")
    if whole:
        _check_size(path, found.st_size)


def _check_size(path: Path, size: int) -> None:
    BYTES.check(size, f"{path} has", "split it")


def unpacked(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if it is compressed with gzip, bzip2 or xz.

    Raises:
        InputError: if it is no regular file, or larger than the limit, packed or unpacked.
        OSError: if it cannot be read; what is damaged raises one of :data:`DAMAGE`.
    """
    check_regular(path)
    with _unpacking(path) as file:
        data: bytes = file.read(BYTES.value() + 1)
    _check_size(path, len(data))
    return data


@contextmanager
def _unpacking(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        first = file.read(6)
        file.seek(0)
        open_packed = next((opened for start, opened in _PACKED.items() if first.startswith(start)), None)
        if open_packed is None:
            yield file
        else:
            with open_packed(file) as packed:
                yield packed


class Pieces(io.RawIOBase):
    """An open file that is read piece by piece, none of them larger than a file may be.

    Args:
        path: Of the file, for messages.
        file: What is read, unpacked.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file, self._most = path, file, BYTES.value()
        self.begin()

    def begin(self) -> None:
        """Begin another piece: what was read so far does not count any longer."""
        self._spent = 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer as files do.

        Raises:
            InputError: if the piece is larger than the limit.
        """
        read: int = self._file.readinto(buffer)
        self._spent += read
        if self._spent > self._most:
            raise BYTES.refusal(f"{self._path} has", "split it")
        return read


@contextmanager
def in_pieces(path: Path) -> Iterator[tuple[io.BufferedReader, Pieces]]:
    """Open a file of any size to read it piece by piece, unpacked as by :func:`unpacked`.

    Yields:
        The file, and what is to be told when another piece begins.

    Raises:
        InputError: if it is no regular file.
        OSError: if it cannot be read; what is damaged raises one of :data:`DAMAGE`.
    """
    check_regular(path, whole=False)
    with _unpacking(path) as file:
        pieces = Pieces(path, file)
        yield io.BufferedReader(pieces, _BLOCK), pieces
