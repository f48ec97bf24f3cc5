"""Crystals and their properties from the Materials Project (https://materialsproject.org).

The REST interface is asked with requests instead of the Materials Project's own client mp-api (0.46.5 was looked at),
because of what that client leaves no place for. It returns when the last page is there, so nothing is left of an
interrupted fetch. Its documents decode structures with pymatgen's ``from_dict``, which lets site properties name
classes to import. It repeats neither status 500 nor an answer cut off in its middle, sets no pace, and follows
redirects with the key. And it needs boto3, pyarrow and deltalake, for downloads of whole collections. Routes,
parameters and fields are those that it uses.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pymatgen.core

from icsg3d.crystals.structures import read_json
from icsg3d.data.frames import read_frame, write_frame
from icsg3d.data.materials_query import MaterialsProjectQuery
from icsg3d.data.materials_rows import COLUMNS, FIELDS, PROPERTY_FIELDS, Page, decoded_page, encoded_page, read_page
from icsg3d.data.remote import JsonService, Manners, check_endpoint
from icsg3d.errors import InputError
from icsg3d.files import locked, saving, sha256, write_atomically
from icsg3d.limits import ROWS
from icsg3d.progress import task
from icsg3d.run_folders import PartialRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from icsg3d.progress import Task

__all__ = ["COLUMNS", "MaterialsProjectQuery", "fetch_materials_project"]

ENDPOINT = "https://api.materialsproject.org"
PAGE = 500
"""Materials asked for at once; the service sends 1000 at most."""
_ROUTE = "materials/summary/"
_FORMAT = 1
_KEY_PAGE = "https://next-gen.materialsproject.org/api"


def fetch_materials_project(
    query: MaterialsProjectQuery,
    out: Path,
    *,
    refresh: bool = False,
    endpoint: str | None = None,
    manners: Manners | None = None,
) -> pd.DataFrame:
    """Fetch crystals and properties into a dataframe on disk, or read it if the same query has been fetched.

    Pages are kept beside ``out`` as they come, so that the same call resumes after an interruption. The key is taken
    from the environment variable ``MP_API_KEY``, else from ``PMG_MAPI_KEY`` of pymatgen's settings.

    Args:
        query: What is asked for.
        out: Dataframe to write, ``.json`` or ``.json.gz``. Beside it ``NAME.query.json`` says where it came from.
        refresh: Whether to ask again, and replace ``out``, if it exists.
        endpoint: Address of the service; by default ``MP_API_ENDPOINT`` or the public one.
        manners: Pace and patience.

    Returns:
        A row for each material, with the columns :data:`COLUMNS`, sorted by name; NaN where there is no value. Its
        ``attrs["skipped"]`` has what was left out, and why, by name.

    Raises:
        InputError: if there is no key, ``out`` holds something else, nothing is found, or the service fails.
    """
    if not out.name.endswith((".json", ".json.gz")):
        msg = f"the dataframe is written as JSON; name a file that ends in .json.gz instead of {out.name}"
        raise InputError(msg)
    address = check_endpoint(endpoint or os.environ.get("MP_API_ENDPOINT") or ENDPOINT)
    key = _fingerprint(query, address)
    if out.exists() and not refresh:
        return _cached(out, key)
    partial = PartialRows(out.with_name(f"{out.name}.{key[:12]}.partial.jsonl"), key)
    way_out = f"copy your key again from {_KEY_PAGE} into the environment variable MP_API_KEY"
    api_key = _api_key()
    with saving(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out), JsonService("the Materials Project", address, api_key, way_out, manners) as service:
        partial.begin(resume=True)
        pages = list(_pages(service, query, partial))
        frame = _frame(query, pages, partial)
        with saving(out):
            write_frame(frame, out)
            write_atomically(_record_path(out), _record(query, address, key, out, frame))
            partial.remove()
    return frame


def _api_key() -> str:
    key = os.environ.get("MP_API_KEY") or pymatgen.core.SETTINGS.get("PMG_MAPI_KEY")
    if not key:
        msg = (
            f"the Materials Project asks for a key, and none is set; copy yours from {_KEY_PAGE} into the environment "
            "variable MP_API_KEY, or run pmg config --add PMG_MAPI_KEY with it"
        )
        raise InputError(msg)
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9]{32}", key.strip()):
        msg = f"the key in MP_API_KEY is not one of 32 letters and digits; copy yours again from {_KEY_PAGE}"
        raise InputError(msg)
    return key.strip()


def _fingerprint(query: MaterialsProjectQuery, address: str) -> str:
    content = {"format": _FORMAT, "endpoint": address, "fields": FIELDS, "parameters": query.parameters()}
    return sha256(json.dumps(content, sort_keys=True).encode())


def _pages(
    service: JsonService,
    query: MaterialsProjectQuery,
    partial: PartialRows,
) -> Iterator[Page]:
    """Yield all pages, from the partial file those that it has."""
    with task("materials") as running:
        yield from _pages_of_all(service, query, partial, running)


def _pages_of_all(
    service: JsonService, query: MaterialsProjectQuery, partial: PartialRows, running: Task
) -> Iterator[Page]:
    came: set[str] = set()
    count = 0
    for part, parameters in enumerate(query.parameters()):
        skip, total = 0, None
        while total is None or skip < total:
            kept = partial.rows.get((part, skip))
            if kept is not None:
                page = decoded_page(kept)
            else:
                wanted = {**parameters, "_fields": ",".join(FIELDS), "_limit": str(PAGE), "_skip": str(skip)}
                page = read_page(service.get(_ROUTE, wanted), f"{part}.{skip}", PAGE)
            total = page.total if total is None else total
            _check_total(total, parameters, partial)
            if page.total != total or skip + page.count > total or (not page.count and skip < total):
                raise _changed(partial, f"{page.count} came after {skip} of {total}, {page.total} are announced now")
            names = [row["material_id"] for row in page.rows]
            if again := len(names) - len(set(names) - came):
                raise _changed(partial, f"of {len(names)} materials after {skip}, {again} have come before")
            came.update(names)
            partial.add((part, skip), encoded_page(page))
            skip += page.count
            count += page.count
            running.update(done=count, total=max(count, len(query.ids) or total))
            yield page


def _check_total(total: int, parameters: Mapping[str, str], partial: PartialRows) -> None:
    """Refuse an answer that announces more materials than are taken, or than there are names in the query."""
    asked = parameters.get("material_ids")
    if asked and total > asked.count(",") + 1:
        raise _changed(partial, f"{total} materials are announced for {asked.count(',') + 1} names")
    ROWS.check(total, f"the Materials Project announces {total} materials,", "ask for something narrower")


def _changed(partial: PartialRows, detail: str) -> InputError:
    partial.remove()
    return InputError(
        f"the Materials Project's answers do not fit together ({detail}); start again, from the beginning"
    )


def _frame(query: MaterialsProjectQuery, pages: list[Page], partial: PartialRows) -> pd.DataFrame:
    rows = [row for page in pages for row in page.rows]
    skipped = {name: reason for page in pages for name, reason in page.skipped.items()}
    names = {row["material_id"] for row in rows}
    if not rows:
        partial.remove()
        detail = f": all {len(skipped)} are damaged, {next(iter(skipped.values()))}" if skipped else ""
        msg = f"the Materials Project has no material for {query}{detail}; ask for something wider"
        raise InputError(msg)
    absent = set(query.ids) - names - set(skipped)
    skipped |= dict.fromkeys(sorted(absent), "the Materials Project has none of this name; it may have another one now")
    rows.sort(key=lambda row: (len(row["material_id"]), row["material_id"]))
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(PROPERTY_FIELDS, float))
    frame.attrs["skipped"] = skipped
    return frame


# What is written


def _record_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.query.json")


def _record(query: MaterialsProjectQuery, address: str, key: str, out: Path, frame: pd.DataFrame) -> bytes:
    record = {
        "source": "Materials Project",
        "endpoint": address,
        "query": str(query),
        "parameters": query.parameters(),
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "materials": len(frame),
        "skipped": frame.attrs["skipped"],
        "query_sha256": key,
        "file_sha256": sha256(out.read_bytes()),
    }
    return json.dumps(record, indent=1).encode()


def _cached(out: Path, key: str) -> pd.DataFrame:
    """Return the dataframe that an earlier call wrote.

    Raises:
        InputError: if it holds something else.
    """
    way_out = "name another file, or replace it with --refresh (in Python: refresh=True)"
    try:
        record: Any = read_json(_record_path(out))
    except InputError:
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("skipped"), dict):
        msg = f"{out} exists and does not say what it holds; {way_out}"
        raise InputError(msg)
    if record.get("query_sha256") != key:
        msg = f"{out} holds the answer to another query ({record.get('query')}); {way_out}"
        raise InputError(msg)
    if record.get("file_sha256") != sha256(out.read_bytes()):
        msg = f"{out} has been changed since it was fetched; {way_out}"
        raise InputError(msg)
    frame = read_frame(out)
    frame.attrs["skipped"] = record["skipped"]
    return frame
