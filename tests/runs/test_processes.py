"""Teams of processes: the same candidates as one process, and no batch lost without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.runs.processes import Processes, shared
from icsg3d.screening.batches import Batch, LostDraws


class Draws:
    """Cubes whose edge is their number; some numbers fail, some kill the process."""

    limit = 1000

    def __init__(self, fatal=(), failing=(), refused=(), once=None, slow=()):
        self.fatal, self.failing, self.refused, self.once, self.slow = fatal, failing, refused, once, slow

    def candidates(self, numbers):
        for number in numbers:
            if number in self.slow:
                time.sleep(2)
            if number in self.fatal and not (self.once and Path(self.once).exists()):
                if self.once:
                    Path(self.once).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if number in self.failing:
                raise RuntimeError("no luck")
            if number in self.refused:
                raise InputError("there is no such model")
            yield Candidate(number, Structure(Lattice.cubic(3 + number / 1000), ["Po"], [[0, 0, 0]]))


class Nodding:
    """Passes all."""

    def assess(self, candidates):
        return [
            Candidate(each.index, each.structure, screening={"passed": True, "failed_on": [], "by": os.getpid()})
            for each in candidates
        ]


@dataclass(frozen=True)
class Cubes:
    """Work of a team."""

    draws: Draws

    def begin(self, device):
        judge = Nodding()
        judge.device = device
        return self.draws, judge


def batches(count, size=3):
    return [Batch(range(first, first + size), tuple(range(first, first + size))) for first in range(0, count, size)]


def run(draws, jobs=2, count=12):
    with Processes(Cubes(draws), jobs) as team:
        return list(team(batches(count)))


@pytest.mark.slow
def test_batches_come_in_their_order_from_several_processes():
    found = run(Draws())
    assert [each.index for part in found for each in part.assessed] == list(range(12))
    assert [each.index for part in found for each in part.drawn] == list(range(12))
    assert found[1].assessed[2].structure.lattice.a == pytest.approx(3.005)
    workers = {each.screening["by"] for part in found for each in part.assessed}
    assert os.getpid() not in workers


@pytest.mark.slow
def test_a_batch_that_fails_twice_is_named_and_the_others_count():
    found = run(Draws(failing={4}))
    assert [isinstance(each, LostDraws) for each in found] == [False, True, False, False]
    assert str(found[1]) == "3 to 5 (RuntimeError: no luck)"


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(tmp_path):
    found = run(Draws(fatal={4}, once=str(tmp_path / "died")))
    assert [each.index for part in found for each in part.assessed] == list(range(12))


@pytest.mark.slow
def test_a_batch_that_kills_each_process_is_named_and_the_others_count():
    found = run(Draws(fatal={4}))
    assert [isinstance(each, LostDraws) for each in found] == [False, True, False, False]
    assert "a process died" in found[1].reason


@pytest.mark.slow
def test_a_slow_batch_does_not_answer_for_one_that_kills():
    found = run(Draws(fatal={4}, slow={0}))
    assert [isinstance(each, LostDraws) for each in found] == [False, True, False, False]
    assert [each.index for each in found[0].assessed] == [0, 1, 2]


@pytest.mark.slow
def test_a_process_that_dies_while_nobody_waits_is_replaced(tmp_path):
    with Processes(Cubes(Draws(fatal={4}, once=str(tmp_path / "died"))), 1) as team:
        results = team(batches(30))
        found = [next(results)]
        time.sleep(3)  # the next is handed out when the team is broken
        found += list(results)
    assert [each.index for part in found for each in part.assessed] == list(range(30))


@pytest.mark.slow
def test_what_cannot_be_had_ends_the_run():
    with pytest.raises(InputError, match="there is no such model"):
        run(Draws(refused={7}))


@pytest.mark.slow
def test_candidates_that_are_drawn_already_are_not_drawn_again():
    given = Candidate(1, None, "given")
    with Processes(Cubes(Draws(failing={1})), 1) as team:
        found = next(team([Batch(range(3), (1, 2), {1: given})]))
    assert [each.index for each in found.drawn] == [2]
    assert [each.index for each in found.assessed] == [1, 2]


@pytest.mark.slow
def test_batches_are_not_begun_long_before_they_are_wanted():
    asked = []

    def wanted():
        for each in batches(60):
            asked.append(each)
            yield each

    with Processes(Cubes(Draws()), 1) as team:
        results = team(wanted())
        next(results)
        assert len(asked) == 3


PROGRAM = """
import time
from tests.runs.test_processes import Cubes, Draws, batches
from icsg3d.runs.processes import Processes, shared

if __name__ == "__main__":
    with Processes(Cubes(Draws()), 2) as team:
        print(*{each.screening["by"] for part in team(batches(6)) for each in part.assessed}, flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
def test_processes_end_with_the_one_they_work_for(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    workers = [int(each) for each in parent.stdout.readline().split()]
    assert workers
    assert all(alive(each) for each in workers)
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 30
    while any(alive(each) for each in workers) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(alive(each) for each in workers)


def alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_devices_are_given_to_processes_in_turn():
    team = Processes(Cubes(Draws()), 3, ("cuda:0", "cuda:1"))
    assert [team.device(number) for number in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]


@dataclass(frozen=True)
class Tens:
    """Work on numbers: some are refused, some kill the process, some take long and leave a file."""

    fatal: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    slow: tuple[int, ...] = ()
    file: str = ""

    def begin(self, device):
        return lambda number: self.work(number, device)

    def work(self, number, device):
        if number in self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.refused:
            raise InputError("there is no such number")
        if number in self.slow:
            Path(self.file).touch()
            time.sleep(30)
            Path(self.file).write_text("done")
        return 10 * number, os.getpid(), device


@pytest.mark.slow
def test_items_are_worked_on_by_others_and_come_in_their_order():
    asked = []
    with shared(Tens(), 2) as work:
        results = work(asked.append(number) or number for number in range(20))
        found = [next(results)]
        assert len(asked) == 5  # none is taken long before it is wanted
        found += [*results, *work(iter([7]))]
        assert list(work([])) == []
    assert [number for number, _, _ in found] == [*range(0, 200, 10), 70]
    assert os.getpid() not in {process for _, process, _ in found}
    assert {device for _, _, device in found} == {"cpu"}


@pytest.mark.slow
def test_a_process_that_dies_at_an_item_ends_the_work_with_a_sentence():
    with (
        pytest.raises(InputError, match="a process of --jobs died, perhaps for want of memory"),
        shared(Tens(fatal=(4,)), 2) as work,
    ):
        list(work(range(12)))


@pytest.mark.slow
def test_what_cannot_be_had_of_an_item_ends_the_work():
    with pytest.raises(InputError, match="there is no such number"), shared(Tens(refused=(4,)), 2) as work:
        list(work(range(12)))


@pytest.mark.slow
def test_an_interruption_waits_for_nobody(tmp_path):
    file = tmp_path / "begun"

    def interrupted():
        with shared(Tens(slow=(1,), file=str(file)), 1) as work:
            assert next(work(range(3)))[0] == 0
            while not file.exists():
                time.sleep(0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_text() == ""
