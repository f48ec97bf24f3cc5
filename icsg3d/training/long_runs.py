"""Long trainings in pieces: a state to resume from and a learning curve, in one folder."""

from __future__ import annotations

import csv
import io
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import safetensors
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from icsg3d.errors import InputError
from icsg3d.files import write_atomically
from icsg3d.training.optimizers import load_state_tensors, state_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import nn

STATE_FILE = "state.safetensors"
CURVE_FILE = "curve.csv"


class State(NamedTuple):
    """What a training needs to continue: steps done, named tensors, and what it rests on."""

    step: int
    tensors: dict[str, torch.Tensor]
    basis: str = ""


def save_state(folder: Path, state: State) -> None:
    """Write the state of a training in one file."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"step": str(state.step), "basis": state.basis}
    write_atomically(folder / STATE_FILE, save_tensors(state.tensors, about))


def load_state(folder: Path) -> State | None:
    """Read what :func:`save_state` wrote; None if the folder has none.

    Raises:
        InputError: if it is damaged.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = header["__metadata__"]
        return State(int(about["step"]), load_tensors(data), about.get("basis", ""))
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        msg = f"{path} is damaged ({error}); remove it to train from the beginning"
        raise InputError(msg) from error


class LearningCurve:
    """Rows of figures by step, kept as a CSV file beside the state.

    Rows beyond the step that a training resumes from are dropped, since they are done again.

    Args:
        folder: Of the training.
        step: From which it continues.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / CURVE_FILE
        rows: list[dict[str, Any]] = []
        if self.path.is_file():
            with self.path.open(newline="") as file:
                rows = list(csv.DictReader(file))
        self.rows = [row for row in rows if int(row["step"]) <= step]

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Append a row and write the file."""
        self.rows.append({"step": step} | {name: f"{value:.5g}" for name, value in figures.items()})
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, text.getvalue().encode())


class LongRun:
    """A training in pieces: takes up its state, draws its learning curve, and keeps its state every few minutes.

    An instance is what a training reports to.

    Args:
        folder: Of the training.
        networks: What is trained, by name.
        optimizers: Theirs.
        last: Number of the last step.
        basis: What the training rests on, such as a hash of networks that were trained before it. A state of another
            basis gives the first weights, and the training begins anew.
        every: Steps that make a row of the curve.
        judge: Returns figures on crystals that are not learned from; asked for every ``judge_every`` steps and at last.
        judge_every: Steps.
        seconds: After which the state is written again.
        tell: Called with every row of the curve.
    """

    def __init__(
        self,
        folder: Path,
        networks: Mapping[str, nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        last: int,
        *,
        basis: str = "",
        every: int = 50,
        judge: Callable[[], Mapping[str, float]] = dict,
        judge_every: int = 300,
        seconds: float = 180.0,
        tell: Callable[[int, Mapping[str, float]], None] = lambda _step, _row: None,
    ) -> None:
        self.folder, self.networks, self.optimizers = folder, networks, optimizers
        self.last, self.every, self.judge, self.judge_every = last, every, judge, judge_every
        self.seconds, self.tell, self.basis = seconds, tell, basis
        state = load_state(folder)
        self.start = 0
        if state is not None and state.basis == basis:
            self.start = state.step
            load_state_tensors(networks, optimizers, state.tensors)
        elif state is not None:
            load_state_tensors(networks, [], state.tensors)
        self.curve = LearningCurve(folder, self.start)
        self._sums: dict[str, float] = {}
        self._count, self._saved = 0, time.monotonic()

    def __call__(self, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of a step."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if step % self.every == 0 or step == self.last:
            row = {name: value / self._count for name, value in self._sums.items()}
            row["per_second"] = row["crystals"] / row["seconds"]
            if step % self.judge_every == 0 or step == self.last:
                row |= {f"validation_{name}": value for name, value in self.judge().items()}
            self.curve.add(step, row)
            self.tell(step, row)
            self._sums, self._count = {}, 0
        if step == self.last or time.monotonic() - self._saved > self.seconds:
            save_state(self.folder, State(step, state_tensors(self.networks, self.optimizers), self.basis))
            self._saved = time.monotonic()
