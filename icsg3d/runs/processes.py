"""Work of several processes of this machine, each with networks of its own: batches drawn and judged, and any items."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from icsg3d.arguments import whole_number
from icsg3d.errors import InputError
from icsg3d.processors import available_processors, settle_threads
from icsg3d.screening.batches import ATTEMPTS, Batch, Finished, LostDraws, attempt, judge_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from ctypes import c_byte
    from multiprocessing.queues import SimpleQueue

    from icsg3d.generation.sources import Source
    from icsg3d.screening.pipeline import Judge

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_AHEAD = 2
"""Batches that wait for each process, so that none is idle."""

_PATIENCE = 0.25
"""Seconds after which a process notices that the one it works for has gone, or wants no more of it."""


DRAWS_PER_PROCESS = 256
"""Candidates for which it is worth while to start a process, which takes some seconds."""


class Work(Protocol):
    """What processes do; it is sent to each of them."""

    def begin(self, device: str) -> tuple[Source, Judge]:
        """Return source and judge with networks on a device."""


class Processes:
    """A team of processes, to be used in a ``with`` block (:class:`icsg3d.screening.batches.Team`).

    What they draw and judge is what one process does: draws depend on their number, predictions on the crystal alone.

    Args:
        work: What each of them does.
        jobs: How many processes.
        devices: Where the networks run, in turn.
    """

    def __init__(self, work: Work, jobs: int, devices: Sequence[str] = ("cpu",)) -> None:
        self.jobs = jobs
        self._work = work
        self._devices = devices
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def device(self, number: int) -> str:
        """Return the device of a process by its number from 0."""
        return self._devices[number % len(self._devices)]

    def _start(self, jobs: int | None = None) -> None:
        self._pool, _ = _pool(self._work, [self.device(number) for number in range(jobs or self.jobs)])

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Finished | LostDraws]:
        """Yield what came of batches, in their order."""
        waiting: deque[tuple[Batch, Future[Any] | None]] = deque()
        for batch in batches:
            waiting.append((batch, self._submit(batch)))
            if len(waiting) > _AHEAD * self.jobs:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _submit(self, batch: Batch) -> Future[Any] | None:
        """Return what will come of a batch; None where there is nothing to do."""
        if self._pool is None:
            raise AssertionError("a team is used in a with block")
        if not batch.missing:
            return None
        try:
            return self._pool.submit(_attempt, batch)
        except BrokenProcessPool as error:  # told when it is the batch's turn
            broken: Future[Any] = Future()
            broken.set_exception(error)
            return broken

    def _next(self, waiting: deque[tuple[Batch, Future[Any] | None]]) -> Finished | LostDraws:
        """Return what came of the first batch."""
        batch, future = waiting.popleft()
        if future is None:
            return Finished(batch)
        try:
            found: Finished | LostDraws = future.result()
        except BrokenProcessPool:
            # Nobody knows which of the batches that were under way it was, so that this one is tried by itself.
            unfinished = [not _is_done(future) for _, future in waiting]
            found = self._alone(batch)
            self._restart(self.jobs)
            again = [
                (each, self._submit(each) if pending else future)
                for (each, future), pending in zip(waiting, unfinished, strict=True)
            ]
            waiting.clear()
            waiting.extend(again)
        return found

    def _alone(self, batch: Batch) -> Finished | LostDraws:
        """Return what comes of a batch in a process that does nothing else."""
        reason = ""
        for _ in range(ATTEMPTS):
            self._restart(1)
            future = self._submit(batch)
            try:
                return Finished(batch) if future is None else future.result()
            except BrokenProcessPool as error:
                reason = f"a process died: {error}"
        return LostDraws.of(batch, reason)

    def _restart(self, jobs: int) -> None:
        self._stop()
        self._start(jobs)


def _is_done(future: Future[Any] | None) -> bool:
    """Return whether there is nothing more to do for a batch."""
    return future is None or (future.done() and not future.cancelled() and future.exception() is None)


def team_of(
    work: Work, jobs: int | None, devices: Sequence[str], count: int
) -> AbstractContextManager[Processes | None]:
    """Return the processes that do some work; None stands for the process that asks.

    Args:
        work: What they do.
        jobs: How many; None for one on each processor, but one for 256 candidates at most.
        devices: Where the networks run; there is at least a process for each.
        count: Of the candidates.

    Raises:
        InputError: if there is less than one.
    """
    best = min(available_processors(), count // DRAWS_PER_PROCESS)
    processes = max(best if jobs is None else whole_number(jobs, "--jobs", 1), len(devices))
    return nullcontext() if processes == 1 else Processes(work, processes, devices)


class ItemWork(Protocol[T_contra, R_co]):
    """What processes do with items; it is sent to each of them."""

    def begin(self, device: str) -> Callable[[T_contra], R_co]:
        """Return what works on an item, with networks on a device."""


@contextmanager
def shared(work: ItemWork[T, R], jobs: int, device: str = "cpu") -> Iterator[Callable[[Iterable[T]], Iterator[R]]]:
    """Let several processes work on items within the ``with`` block.

    When the block is left by an error or a signal, what they have at hand is given up.

    Args:
        work: What each of them does; what becomes of an item must not depend on the others.
        jobs: How many processes; each is started when there is an item for it.
        device: Where the networks run.

    Yields:
        What takes items and yields what became of them, in their order; no item is taken long before that.

    Raises:
        InputError: if a process dies.
    """
    pool, given_up = _pool(work, [device] * jobs)

    def run(items: Iterable[T]) -> Iterator[R]:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(_work_on, item))
            if len(waiting) > _AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield run
    except BrokenProcessPool as error:
        raise InputError(
            "a process of --jobs died, perhaps for want of memory; what was finished is kept, repeat the command with "
            f"--resume and fewer processes than {jobs}"
        ) from error
    except BaseException:
        given_up.value = 1
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(work: Work | ItemWork[Any, Any], devices: Sequence[str]) -> tuple[ProcessPoolExecutor, c_byte]:
    """Return processes that begin some work, one for each device, and a flag: once it is set, they give it up."""
    context = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
    waiting = context.SimpleQueue()
    for device in devices:
        waiting.put(device)
    given_up = context.RawValue("b", 0)
    return ProcessPoolExecutor(len(devices), context, _begin, (work, waiting, os.getpid(), given_up)), given_up


_begun: Any = None
"""What :meth:`Work.begin` or :meth:`ItemWork.begin` returned in a process of a team."""

_talking = threading.Lock()
"""Held by a process that takes items and hands over results, free while it works and nobody waits for its answer."""


def _begin(work: Work | ItemWork[Any, Any], devices: SimpleQueue[str], parent: int, given_up: c_byte) -> None:
    global _begun  # noqa: PLW0603 (an initializer of a process has no other way to leave something)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its team
    _talking.acquire()
    threading.Thread(target=_end_with, args=(parent, given_up), daemon=True).start()
    settle_threads(1)
    _begun = work.begin(devices.get())


def _end_with(parent: int, given_up: c_byte) -> None:
    """End this process once its parent has gone, however that ended, or wants no more of what is being worked on."""
    while os.getppid() == parent:
        if given_up.value:
            _talking.acquire()  # half a result would leave the parent waiting for the other half
            os._exit(1)
        time.sleep(_PATIENCE)
    os._exit(1)


def _attempt(batch: Batch) -> Finished | LostDraws:
    source, judge = _begun
    return attempt(lambda each: judge_batch(source, judge, each), batch)


def _work_on(item: Any) -> Any:
    _talking.release()
    try:
        return _begun(item)
    finally:
        _talking.acquire()
