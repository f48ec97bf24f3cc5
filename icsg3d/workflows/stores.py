"""Where results are kept: in a folder, without a server, or where the user's jobflow settings say."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from jobflow import SETTINGS, JobStore
from maggma.stores import MemoryStore, MontyStore

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_PROBE = "icsg3d-probe"


def folder_store(folder: Path) -> JobStore:
    """Return a store of SQLite files in a folder, which outlives the process and asks for no server.

    It has the additional store ``data``, which atomate2's makers use for large objects.

    Args:
        folder: Where; made if need be. Its path is taken as absolute, as jobs run in folders of their own.

    Raises:
        InputError: if it cannot be written.
    """
    path = folder.resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(path)
        docs, data = (MontyStore(name, database_path=str(path)) for name in ("outputs", "data"))
        store = JobStore(docs, additional_stores={"data": data})
        store.connect()
        docs.update({"uuid": _PROBE, "index": 1, "output": None}, key=["uuid", "index"])
        docs.remove_docs({"uuid": _PROBE})
    except (OSError, sqlite3.Error) as error:
        msg = f"the store in {path} cannot be written ({error}); name another folder, or free this one"
        raise InputError(msg) from error
    return store


def _remove_unfinished(folder: Path) -> None:
    """Remove collections that a kill or a full disk left before they had a table, which would never be made again."""
    for file in folder.rglob("*.collection"):
        with closing(sqlite3.connect(file)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        if not tables:
            for each in (file, file.with_name(f"{file.name}-journal"), file.with_name(f"{file.name}-wal")):
                each.unlink(missing_ok=True)


def chosen_store(folder: Path) -> JobStore:
    """Return the store of the user's jobflow settings if they name one, else one in a folder.

    Raises:
        InputError: if it cannot be reached or written.
    """
    if is_forgetful(SETTINGS.JOB_STORE):
        return folder_store(folder)
    return connected(SETTINGS.JOB_STORE)


def is_forgetful(store: JobStore) -> bool:
    """Whether a store is jobflow's default, which forgets everything when the process ends."""
    return type(store.docs_store) is MemoryStore


def connected(store: JobStore) -> JobStore:
    """Return a store once it is connected.

    Raises:
        InputError: if it cannot be reached.
    """
    try:
        store.connect()
        store.count()
    except Exception as error:
        msg = (
            f"the store of the jobflow settings, {store.name}, cannot be reached ({type(error).__name__}: {error}); "
            "correct the settings (JOBFLOW_CONFIG_FILE), or start its database"
        )
        raise InputError(msg) from error
    return store


def common_store(store: JobStore | None = None) -> JobStore:
    """Return a store that all machines share, connected.

    Args:
        store: By default that of the user's jobflow settings.

    Raises:
        InputError: if it is none, lacks the additional store ``data``, or cannot be reached.
    """
    store = store or SETTINGS.JOB_STORE
    if is_forgetful(store):
        msg = (
            "jobflow knows no store that other machines reach; name one in the settings, as JOB_STORE in a file named "
            "by JOBFLOW_CONFIG_FILE"
        )
        raise InputError(msg)
    if "data" not in cast("Any", store).additional_stores:
        msg = "the store of jobflow has no additional store 'data', where candidates are kept; add one to the settings"
        raise InputError(msg)
    return connected(store)
