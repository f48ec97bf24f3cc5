from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest
import torch

from icsg3d import processors
from icsg3d.errors import InputError
from icsg3d.processors import (
    available_processors,
    bfloat16_wanted,
    one_thread,
    same_every_time,
    settle_threads,
    torch_device,
)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "150000 100000"}, 2),  # one and a half
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "damaged"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({}, 8),
    ],
)
def test_processors_within_a_quota(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_processors(tmp_path) == expected


def threads_of(*arguments, **environment):
    """Threads of torch, and how they wait, in a new process that settles them first."""
    code = (
        "import os; from icsg3d.processors import settle_threads; "
        f"settle_threads({', '.join(map(str, arguments))}); import torch; "
        "print(os.environ['OMP_NUM_THREADS'], torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'])"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_"))}
    made = subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, check=True)
    return made.stdout.decode().split()


@pytest.mark.skipif((os.cpu_count() or 1) < 3, reason="torch takes no more threads than there are processors")
def test_threads_are_settled_before_torch_is_imported():
    assert threads_of(1) == ["1", "1", "PASSIVE"]
    assert threads_of(1, OMP_NUM_THREADS="4", OMP_WAIT_POLICY="ACTIVE") == ["1", "1", "ACTIVE"]
    assert threads_of(3)[0] == "3"  # torch may keep to the processors that there are
    assert threads_of(OMP_NUM_THREADS="1")[:2] == ["1", "1"]


def test_no_thread_is_refused():
    with pytest.raises(InputError, match="at least one thread, got 0; give --threads"):
        settle_threads(0)


def _count(queue):
    queue.put((torch.get_num_threads(), float((torch.ones(400, 400) @ torch.ones(400, 400)).sum())))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_computes_after_its_parent_has():
    earlier = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _ = torch.ones(400, 400) @ torch.ones(400, 400)  # starts the threads that the child will not have
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=_count, args=(queue,))
        child.start()
        assert queue.get(timeout=60) == (1, 400.0**3)
        child.join(60)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(earlier)


@pytest.mark.parametrize("device", ["nowhere", "cuda:77", None, 3.5])
def test_devices_that_are_not_there_are_named(device):
    with pytest.raises(InputError, match=r"cannot be used .*; use 'cpu'"):
        torch_device(device)


def test_precision_follows_the_processor(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(processors, "has_bfloat16", lambda device, has=has: has)
        assert bfloat16_wanted("auto", "cpu") is has
        assert bfloat16_wanted("bfloat16", "cpu")
        assert not bfloat16_wanted("float32", "cpu")


def test_processors_without_bfloat16_units(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert not processors.has_bfloat16("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert processors.has_bfloat16("cpu")
    assert not processors.has_bfloat16("mps")


def test_algorithms_are_the_same_every_time_within_the_block_alone():
    assert not torch.are_deterministic_algorithms_enabled()
    with same_every_time():
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_one_thread_within_the_block_alone():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
