"""Files that are written whole or not at all, their digests, and locks on what a run writes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; of a file of any size, a block is in memory at a time.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under another name first, so that no half-written file is ever found under ``path``.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
    """
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write piece by piece under another name; it takes its own once the ``with`` block has ended well.

    Raises:
        OSError: if it cannot be written; nothing is left behind then, nor after any other error.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)  # noqa: PTH105 (Path.replace differs on nothing but style)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in {None, str(temporary), temporary}:
            # The name that the caller knows; a full disk raises an error without any.
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an :class:`InputError` that names the path and the way out.

    Raises:
        InputError: if something within the ``with`` block cannot be written or read.
    """
    try:
        yield
    except OSError as error:
        name, reason = error.filename or path, error.strerror or str(error)
        raise InputError(
            f"{name} cannot be written ({reason}); free space or name another place, then start again: what was "
            "finished is kept"
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other runs from writing to the same place until the ``with`` block ends.

    The lock is a file beside a file (``.NAME.lock``), or within a folder (``.lock``). The operating system holds it, so
    that a run that is killed leaves no locked place behind.

    Args:
        path: What is written: a file, or a folder that exists.

    Raises:
        InputError: if another run is writing there, or the lock cannot be made.
    """
    from filelock import FileLock, Timeout

    lock_file = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
    lock = FileLock(lock_file, timeout=0)
    with saving(lock_file):
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"another run is writing to {path}; wait until it has ended, or name another --out"
            ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock_file.unlink(missing_ok=True)
        lock.release()
