"""Hand a design to jobflow-remote, which runs it on a cluster: 100,000 free draws of halides, the best 500 kept.

    python examples/submit_to_jobflow_remote.py

Needs a project ``icsg3d`` with a worker ``cluster`` (docs/scale.md), and its runner (``jf runner start``). When the
jobs are done, ``icsg3d collect runs/halides`` writes the results.
"""

from __future__ import annotations

from pathlib import Path

from icsg3d.runs.judged import Judging
from icsg3d.runs.submit import Submission, submit_design
from icsg3d.screening import Constraints


def main() -> None:
    """Hand the design over and say what to do next."""
    constraints = Constraints(allowed={"Cs", "Rb", "K", "Sn", "Ge", "I", "Br", "Cl"}, formula="ABX3")
    judging = Judging(constraints, keep=500, above_hull=0.05)
    submission = Submission("remote", shard_size=5000, worker="cluster", project="icsg3d")
    print(submit_design(Path("runs/halides"), submission, judging=judging, n=100_000))


if __name__ == "__main__":
    main()
