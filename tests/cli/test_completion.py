"""What a shell is offered after Tab."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from icsg3d import pretrained
from icsg3d.models.targets import PROPERTIES
from icsg3d.workflows.engines import ENGINES


def offered(*words: str) -> list[str]:
    """Return what bash is offered for the last word, asked as bash asks."""
    asked = {"_ICSG3D_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    made = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['icsg3d']; from icsg3d.__main__ import main; main()"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | asked,
    )
    assert made.stderr == ""
    return made.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("icsg3d", "generate", "--model", ""), {"cubic", "materials", "perovskites"}),
        (("icsg3d", "generate", "--model", "pe"), {"perovskites"}),
        (("icsg3d", "predict", "--property", "b"), {"band_gap", "bulk_modulus"}),
        (("icsg3d", "generate", "--property", "s"), {"shear_modulus"}),
        (("icsg3d", "featurize", "--featurizer", ""), {"graph", "latent", "property"}),
        (("icsg3d", "featurize", "--featurizer", "graph=bu"), {"graph=bulk_modulus"}),
        (("icsg3d", "train", "property", "--from", "poi"), {"poisson_ratio"}),
        (("icsg3d", "models", "vol"), {"volume"}),
        (("icsg3d", "validate", "--engine", "g"), {"gpaw"}),
        (("icsg3d", "generate", "--model", "runs/my-"), set()),
        (("icsg3d", "re"), {"reconstruct", "report"}),
    ],
)
def test_words_are_completed(words, expected):
    assert set(offered(*words)) == expected


def test_what_is_offered_is_what_there_is():
    assert set(offered("icsg3d", "models", "")) == set(pretrained.available())
    properties = {name for name in pretrained.available() if name in PROPERTIES}
    assert set(offered("icsg3d", "predict", "--property", "")) == properties
    assert set(offered("icsg3d", "validate", "--engine", "")) == set(ENGINES)


def test_the_shell_is_told_how_to_ask():
    # The shell is named: that of the parent process, which typer looks for otherwise, is none where tests run.
    named = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "icsg3d", "--show-completion", "bash"]
    made = subprocess.run(command, check=True, capture_output=True, text=True, env=named)
    assert "complete_bash" in made.stdout
