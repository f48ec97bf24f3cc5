"""What several tests need: a tiny untrained model on disk, and the folder of real data sets."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.symmetry.groups import SpaceGroup

from icsg3d import cli
from icsg3d.crystals.structures import primitive_cell
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.models.generator import GeneratorConfig
from icsg3d.models.unet import SegmentationUNetConfig
from icsg3d.models.vae import CrystalVAEConfig
from icsg3d.progress import listening
from icsg3d.representation.voxels import VoxelConfig
from icsg3d.training.data import CrystalSet

FORMULAS = ("NaCl", "SrTiO3", "BaTiO3", "CaTiO3", "KMgF3", "MgO", "CsCl", "Cu2MnAl", "Fe2VAl", "LiF", "KBr", "LaAlO3")

HELD_GROUPS = [SpaceGroup(symbol) for symbol in ("Fm-3m", "F-43m")]
"""pymatgen forgets a space group that nobody holds, and takes a second for Fm-3m each time anew."""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """Keep what commands keep between runs apart from the user's, and from other tests."""
    monkeypatch.setenv("ICSG3D_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the public data sets; the test is skipped where it is missing."""
    folder = Path(os.environ.get("ICSG3D_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}; name their folder with ICSG3D_DATA")
    return folder


OF_CONFIGURATIONS = {
    *("--preset", "--grid", "--latent", "--unet-epochs", "--vae-epochs", "--batch-size", "--learning-rate"),
    *("--substitute", "--balance", "--distorted", "--variants", "--density-steps", "--guidance", "--temperature"),
    *("--patience", "--notes", "--width", "--layers", "--weight-decay", "--skip-bad-rows", "--unit", "--transfer"),
}


def configured(arguments):
    """Return the arguments of a training with options of its configuration as ``--set NAME=VALUE``."""
    if arguments[:1] != ["train"]:
        return arguments
    found, rest = [], iter(arguments)
    for each in rest:
        if each not in OF_CONFIGURATIONS:
            found.append(each)
        else:
            found += ["--set", f"{each[2:]}={'true' if each == '--skip-bad-rows' else next(rest)}"]
    return found


@pytest.fixture
def command_line(monkeypatch, capsys):
    """Run a command line; return exit code and what it printed to standard error, in one line."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["icsg3d", *configured(list(map(str, arguments)))])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, " ".join(capsys.readouterr().err.split())

    return call


@pytest.fixture
def run(command_line):
    """Run a command line, as ``command_line`` does; modules on one command put their own in its place."""
    return command_line


@pytest.fixture(scope="session")
def tiny_crystals() -> CrystalSet:
    """Return twelve prototype crystals with made-up energies."""
    crystals = [primitive_cell(prototype_structure(formula))[0] for formula in FORMULAS]
    return CrystalSet(crystals, list(FORMULAS), np.linspace(-3, 0, len(FORMULAS)))


@pytest.fixture(scope="session")
def tiny_config(tiny_crystals) -> GeneratorConfig:
    """Return sizes of networks that run in milliseconds."""
    voxels = VoxelConfig.preset("periodic", grid=8)
    vae = CrystalVAEConfig(
        grid=8,
        channels=voxels.channels,
        filters=(8, 16),
        depths=(1, 1),
        bottleneck=16,
        hidden=32,
        decoder_hidden=(32,),
        dense_blocks=1,
        latent=16,
    )
    unet = SegmentationUNetConfig(voxels.channels, down=((8, 8),), bottom=(16, 16), up=((8, 8),))
    edges = tuple(float(edge) for edge in np.quantile(tiny_crystals.energies, np.arange(1, 10) / 10))
    return GeneratorConfig(voxels, vae, unet, elements=tiny_crystals.elements, energy_edges=edges)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tiny_config, tiny_crystals) -> Path:
    """Return the folder of an untrained model: everything works, nothing is learned."""
    from icsg3d.models.generator import GeneratorNetwork
    from icsg3d.pretrained.packing import TrainingRecord, pack_model
    from icsg3d.training.flow import FlowOptions

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    record = TrainingRecord("none", [], {}, 1.0, "a test")
    density = FlowOptions(steps=20, width=16)
    pack_model(GeneratorNetwork(tiny_config), tiny_crystals, folder, record, density=density)
    return folder


class Watched(dict):
    """Tracker that remembers, for each task by its text, how much was done of how much."""

    @contextmanager
    def __call__(self, text, total, done):
        seen = self.setdefault(text, [])
        seen.append((done, total))

        class Running:
            def advance(self, steps=1):
                seen.append((seen[-1][0] + steps, seen[-1][1]))

            def update(self, done=None, total=None, text=None):
                seen.append((seen[-1][0] if done is None else done, seen[-1][1] if total is None else total))

        yield Running()


@pytest.fixture
def watched():
    """What the library reports of its progress while the test runs."""
    tracker = Watched()
    with listening(tracker):
        yield tracker
