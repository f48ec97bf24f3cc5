"""What the processors can do: how many a process may use, threads that leave room for others, and bfloat16."""

from __future__ import annotations

import math
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

Precision = Literal["auto", "bfloat16", "float32"]

_CGROUPS = Path("/sys/fs/cgroup")


def available_processors(cgroups: Path = _CGROUPS) -> int:
    """Return how many processors this process may use: those of its affinity, within the quota of its container.

    Args:
        cgroups: Where Linux tells of the quota.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(own, _quota(cgroups))))


def _quota(cgroups: Path) -> float:
    """Return the processor time that the container may use a second, in seconds; infinity without a limit."""
    try:
        if (cgroups / "cpu.max").is_file():
            quota, period = (cgroups / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # no container, or "max"
        return math.inf


def settle_threads(threads: int | None = None) -> None:
    """Settle how many threads numerical libraries use, before they are imported; they then wait without spinning.

    What the user has set in the environment (``OMP_NUM_THREADS``, ``OMP_WAIT_POLICY``) holds, unless ``threads`` is
    given.

    Args:
        threads: How many; by default as many as there are processors that the process may use.

    Raises:
        InputError: if there is less than one thread.
    """
    if threads is not None and threads < 1:
        raise InputError(f"there is at least one thread, got {threads}; give --threads a number of 1 or more")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if threads is not None or name not in os.environ:
            os.environ[name] = str(threads or available_processors())
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads is not None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within the ``with`` block.

    Sums in single precision end in other last digits with another number of threads; what is drawn and judged so is the
    same however many processes share the work.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def same_every_time() -> Iterator[None]:
    """Let torch take algorithms that give the same result each time within the ``with`` block.

    Several threads that add to one place do so in any order otherwise. Where there is no such algorithm torch warns.
    """
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # Or torch would write into every new tensor what the next operation overwrites: a seventh of the time.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        memory.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(mode=before[0], warn_only=before[1])


def _in_forked_process() -> None:
    """Keep torch to one thread in a process that was forked: the threads of its parent do not exist there.

    OpenMP would wait for them for ever.
    """
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_process)


def torch_device(device: torch.device | str) -> torch.device:
    """Return a device of torch that is there.

    Raises:
        InputError: if it is unknown or absent.
    """
    import torch

    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"the device {device!r} cannot be used ({reason}); use 'cpu'") from error
    return found


def inference_precision(device: torch.device | str) -> torch.dtype:
    """Return the precision that predictions are computed in: double, where the device has it.

    The last bits of a sum depend on how many rows are computed together and on the number of threads. In single
    precision these are digits that a table shows, in double precision they vanish when the result is rounded to single.
    Property networks take less time than finding the neighbours, so that it costs little.
    """
    import torch

    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def bfloat16_wanted(precision: Precision, device: str) -> bool:
    """Whether to compute in bfloat16 where a choice is left.

    Args:
        precision: ``bfloat16``, ``float32``, or ``auto`` for what the device is faster with.
        device: ``cpu`` or ``cuda``.
    """
    return has_bfloat16(device) if precision == "auto" else precision == "bfloat16"


def has_bfloat16(device: str = "cpu") -> bool:
    """Whether a kind of device multiplies bfloat16 in hardware; elsewhere that is a hundred times slower than float32.

    Args:
        device: ``cpu`` or ``cuda``; others count as without.
    """
    import torch

    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in asked)
