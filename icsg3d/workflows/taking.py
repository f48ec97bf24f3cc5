"""What makers take: crystals of any kind and candidates, now or as outputs of other jobs.

A reference to an output stands for what the other job will have made. Where a flow must know the crystal to be built,
such as for its elements, a job takes the reference and replaces itself by that flow.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from jobflow import OutputReference
from pydantic import BaseModel

from icsg3d.arguments import whole_number
from icsg3d.crystals.structures import as_structure
from icsg3d.crystals.taking import is_one_crystal
from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.workflows.schemas import CandidateDoc, CandidatesDoc

if TYPE_CHECKING:
    from collections.abc import Iterator

Made = TypeVar("Made", bound=Callable[..., Any])


def a_crystal(given: Any, name: str) -> Any:
    """Return the Structure of whatever stands for a crystal; a reference to an output as it is.

    Raises:
        InputError: if it is none.
    """
    if isinstance(given, OutputReference):
        return given
    if not is_one_crystal(given):
        raise InputError(f"{name} is one crystal or the output of a job, got {type(given).__name__}; give one")
    return as_structure(given)


def a_crystal_or_none(given: Any, name: str) -> Any:
    """Return what :func:`a_crystal` does, and None of None."""
    return None if given is None else a_crystal(given, name)


def a_count(given: Any, name: str) -> Any:
    """Return a whole number of 1 or more, or a reference to one.

    Raises:
        InputError: if it is none.
    """
    return given if isinstance(given, OutputReference) else whole_number(given, name, 1)


def a_start(given: Any, name: str) -> Any:
    """Return a whole number of 0 or more, or a reference to one.

    Raises:
        InputError: if it is none.
    """
    return given if isinstance(given, OutputReference) else whole_number(given, name, 0)


def energies_of_elements(given: Any, name: str) -> Any:
    """Return documents of elements by symbol, or a reference to them.

    Raises:
        InputError: if they are something else.
    """
    if given is None or isinstance(given, OutputReference | Mapping):
        return given
    raise InputError(f"{name} has documents of elements by symbol, got {type(given).__name__}; give a dictionary")


def a_list(given: Any, name: str) -> Any:
    """Return a list whose items may be references.

    Raises:
        InputError: if it is none.
    """
    if isinstance(given, OutputReference | list | tuple):
        return given
    raise InputError(f"{name} is a list, got {type(given).__name__}; give one")


def a_candidate(given: Any, name: str) -> Any:
    """Return the document of one candidate, made of whatever stands for a crystal; a reference as it is.

    Raises:
        InputError: if it is none.
    """
    if isinstance(given, OutputReference | CandidateDoc):
        return given
    if isinstance(given, Candidate):
        return CandidateDoc.from_candidate(given)
    if _is_document(given, "CandidateDoc"):
        return CandidateDoc.model_validate(given)
    return CandidateDoc.from_candidate(Candidate(0, a_crystal(given, name)))


def candidates_of(given: Any) -> list[CandidateDoc]:
    """Return the documents of candidates: of documents, lists, and whatever stands for a crystal, in their order.

    What has no number of its own gets the next that is free.

    Args:
        given: No references, or none any more.

    Raises:
        InputError: if something is neither candidate nor crystal, or two candidates have the same index.
    """
    found = list(_flat(given))
    taken = [each.index for each in found if isinstance(each, CandidateDoc)]
    if len(set(taken)) < len(taken):
        raise InputError("two candidates have the same index, which tells rows apart; number them anew")
    free = (number for number in range(len(found) + len(taken)) if number not in set(taken))
    return [
        each if isinstance(each, CandidateDoc) else CandidateDoc.from_candidate(Candidate(next(free), each))
        for each in found
    ]


def _flat(given: Any) -> Iterator[Any]:
    """Yield candidates' documents and structures from lists within lists."""
    if isinstance(given, Candidate | CandidateDoc) or _is_document(given, "CandidateDoc"):
        yield a_candidate(given, "a candidate")
    elif isinstance(given, CandidatesDoc) or _is_document(given, "CandidatesDoc"):
        yield from _flat(CandidatesDoc.model_validate(given).candidates)
    elif isinstance(given, Sequence) and not is_one_crystal(given):  # a Structure is a sequence of sites
        for each in given:
            yield from _flat(each)
    else:
        yield a_crystal(given, "a candidate")


def _is_document(given: Any, kind: str) -> bool:
    """Whether something is a document as a store gives it, a dictionary that names its class."""
    return isinstance(given, Mapping) and given.get("@class") == kind


def split_candidates(given: Any) -> list[Any]:
    """Return parts for the job that screens: one of documents, and the references as they are.

    Raises:
        InputError: as in :func:`candidates_of`, and if there is nothing.
    """
    if isinstance(given, OutputReference):
        return [given]
    if isinstance(given, BaseModel | Candidate) or is_one_crystal(given):
        given = [given]
    if not isinstance(given, Sequence):
        raise InputError(f"candidates are a list of crystals, got {type(given).__name__}; give one")
    if not given:
        raise InputError("there are no candidates to validate; give at least one")
    references = [each for each in given if isinstance(each, OutputReference)]
    known = candidates_of([each for each in given if not isinstance(each, OutputReference)])
    return [*([CandidatesDoc(candidates=known)] if known else []), *references]


def taking(**checks: Callable[[Any, str], Any]) -> Callable[[Made], Made]:
    """Return a decorator of ``make`` that looks at arguments when it is called, not when the job runs.

    Args:
        checks: For each argument a function of it and its name that returns what the job takes, or raises
            :class:`InputError`.
    """

    def decorate(make: Made) -> Made:
        signature = inspect.signature(make)

        @functools.wraps(make)
        def checked(*arguments: Any, **named: Any) -> Any:
            try:
                bound = signature.bind(*arguments, **named)
            except TypeError as error:
                raise InputError(f"make was called with other arguments than it has ({error}); see its help") from error
            for name in bound.arguments.keys() & checks.keys():
                bound.arguments[name] = checks[name](bound.arguments[name], name)
            return make(*bound.args, **bound.kwargs)

        # By this jobflow knows the method of a maker behind a job.
        if hasattr(make, "original"):
            checked.original = make.original  # type: ignore[attr-defined]
        return cast("Made", checked)

    return decorate
