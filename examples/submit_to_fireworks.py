"""Hand a design to FireWorks, which spreads it over machines: 100,000 draws around SrTiO3, the best 500 kept.

    python examples/submit_to_fireworks.py

Needs a LaunchPad (my_launchpad.yaml) and jobflow settings with a store that all machines reach (docs/scale.md). Workers
are started with ``rlaunch rapidfire``; when they are done, ``icsg3d collect runs/many`` writes the results.
"""

from __future__ import annotations

from pathlib import Path

from icsg3d.runs.judged import Judging
from icsg3d.runs.submit import Submission, submit_design

HERE = Path(__file__).parent


def main() -> None:
    """Hand the design over and say what to do next."""
    judging = Judging(keep=500, above_hull=0.1)
    print(submit_design(Path("runs/many"), Submission("fireworks"), HERE / "SrTiO3.cif", judging, n=100_000))


if __name__ == "__main__":
    main()
