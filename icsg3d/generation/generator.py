"""The generator of crystals: structures to latent vectors and back, samples, and paths between crystals."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from icsg3d import pretrained
from icsg3d.arguments import real_number, whole_number
from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, canonical_origin
from icsg3d.crystals.display import CrystalList, html_card
from icsg3d.crystals.elements import symbols
from icsg3d.crystals.structures import CellSetting, Crystal, as_structure, from_arrays, network_cell
from icsg3d.errors import InputError
from icsg3d.files import sha256
from icsg3d.generation.inversion import refined_latents
from icsg3d.models.checkpoints import GENERATOR_FORMAT, load_network
from icsg3d.models.decoding import BATCH, SYMMETRY_TOLERANCE, Decoded, decode_crystals, padded
from icsg3d.models.density import SCALE, LatentDensity
from icsg3d.models.encoding import encode_posteriors
from icsg3d.models.generator import DecodedGrids, energy_bins
from icsg3d.processors import torch_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from icsg3d.models.generator import GeneratorNetwork


@dataclass(frozen=True)
class DecodedCrystal:
    """What a latent vector decodes to.

    Attributes:
        structure: The crystal; None where there is none.
        reason: Why there is none; empty where there is one.
        latent: The latent vector, shape (latent,).
    """

    structure: Structure | None
    reason: str
    latent: np.ndarray

    def row(self) -> dict[str, Any]:
        """Return the crystal as a row of a table, lattice parameters in angstrom and degrees."""
        if self.structure is None:
            return {"formula": "", "reason": self.reason}
        names = ("a", "b", "c", "alpha", "beta", "gamma")
        cell = {name: round(value, 4) for name, value in zip(names, self.structure.lattice.parameters, strict=True)}
        return {
            "formula": self.structure.composition.reduced_formula,
            **cell,
            "sites": len(self.structure),
            "reason": "",
        }

    def _repr_html_(self) -> str:
        return html_card(self.structure, self.row())

    def in_setting(self, setting: CellSetting) -> DecodedCrystal:
        """Return the same in the cell in which a base was given."""
        if self.structure is None:
            return self
        return dataclasses.replace(self, structure=setting.apply(self.structure))


@dataclass(frozen=True)
class Located:
    """A crystal in a generator's latent space: what is prepared and encoded once, and then used by every draw.

    Attributes:
        structure: The crystal, as it was given.
        arrays: The cell that the networks see.
        setting: How to return from that cell to the given one.
        latent: Vector that decodes to the crystal, shape (latent,).
    """

    structure: Structure
    arrays: CrystalArrays
    setting: CellSetting
    latent: np.ndarray


class CrystalGenerator:
    """A trained generator.

    Args:
        network: Autoencoder and segmentation network.
        density: Density of the training crystals in latent space.
        name: Name of the model.
        digest: SHA-256 of its weights.
        folder: Where it was read from.
        device: Where it runs.
        symmetry_tolerance: What is decoded is refined to the symmetry that it has within this distance, in angstrom;
            0 for none.
    """

    def __init__(
        self,
        network: GeneratorNetwork,
        density: LatentDensity,
        *,
        name: str = "",
        digest: str = "",
        folder: Path | None = None,
        device: str | torch.device = "cpu",
        symmetry_tolerance: float = SYMMETRY_TOLERANCE,
    ) -> None:
        self.device = torch_device(device)
        self.network = network.to(self.device).eval()
        self.density = density
        self.name = name
        self.digest = digest
        self.folder = folder
        self.symmetry_tolerance = symmetry_tolerance

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "cubic",
        device: str | torch.device = "cpu",
        symmetry_tolerance: float = SYMMETRY_TOLERANCE,
    ) -> CrystalGenerator:
        """Load a model that the package ships, or one from a folder that ``icsg3d train generator`` wrote.

        Args:
            model: Name or path.
            device: Where it runs, such as ``cpu`` or ``cuda``.
            symmetry_tolerance: As in the class.

        Raises:
            InputError: if there is no such model, its files are damaged, or the tolerance is negative.
        """
        if not (np.isfinite(symmetry_tolerance) and symmetry_tolerance >= 0):
            msg = f"the tolerance of symmetry is a distance in angstrom, 0 or more; got {symmetry_tolerance}"
            raise InputError(msg)
        folder = pretrained.find(model, GENERATOR_FORMAT)
        network, extra, digest = load_network(folder)
        return cls(
            network,
            LatentDensity.from_tensors(extra),
            name=folder.name,
            digest=digest,
            folder=folder,
            device=device,
            symmetry_tolerance=symmetry_tolerance,
        )

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols of the elements that the model knows."""
        return tuple(symbols()[number] for number in self.network.config.elements)

    def training_formulas(self) -> frozenset[str] | None:
        """Return the reduced formulas of the training crystals, for checks of novelty; None if there is no list."""
        return pretrained.training_formulas(self.folder) if self.folder else None

    def prepare(self, crystal: Crystal) -> tuple[CrystalArrays, CellSetting]:
        """Return the cell that the networks see of a crystal, and how it was given.

        Raises:
            InputError: if the crystal is none, is disordered, has an element that the model does not know, or a cell
                larger than the model takes.
        """
        structure = as_structure(crystal)
        config = self.network.config
        arrays, setting = network_cell(structure, primitive=config.voxels.periodic)
        name = structure.composition.reduced_formula
        unknown = sorted(set(arrays.numbers.tolist()) - set(config.elements))
        if unknown:
            names = ", ".join(symbols()[number] for number in unknown)
            msg = f"{name} has {names}, which the model {self.name} was not trained on; it knows {self._elements()}"
            raise InputError(msg)
        longest = float(np.linalg.norm(arrays.lattice, axis=1).max())
        if longest > config.max_length:
            msg = (
                f"the cell of {name} that the networks see is {longest:.1f} angstrom long, and the model {self.name} "
                f"takes cells up to {config.max_length:.1f} angstrom; use a smaller crystal or another --model"
            )
            raise InputError(msg)
        if config.voxels.periodic:
            origin = canonical_origin(CrystalBatch.from_arrays([arrays]))[0].double().numpy()
            setting = dataclasses.replace(setting, origin=origin)
        return arrays, setting

    def _elements(self) -> str:
        return " ".join(self.elements)

    def bins(self, condition: Sequence[float | None] | float | None, count: int) -> torch.Tensor:
        """Return condition bins of energies in eV/atom (those of ``network.config.condition``), -1 where None.

        Raises:
            InputError: if there are not as many energies as crystals, or the model has no condition.
        """
        values: list[Any] = [condition] * count if np.ndim(condition) == 0 else list(condition)  # type: ignore[arg-type]
        if len(values) != count:
            msg = f"{len(values)} conditions were given for {count} crystals; give one, or one for each"
            raise InputError(msg)
        if any(value is not None for value in values) and not self.network.config.energy_edges:
            msg = f"the model {self.name} was trained without formation energies; leave the condition out"
            raise InputError(msg)
        energies = torch.tensor(
            [float("nan") if value is None else real_number(value, "a condition in eV per atom") for value in values]
        )
        return energy_bins(energies, self.network.config.energy_edges)

    @torch.no_grad()
    def encode(
        self, crystals: Sequence[Crystal], condition: Sequence[float | None] | float | None = None
    ) -> np.ndarray:
        """Return the latent means of crystals.

        Args:
            crystals: Structures, Atoms or paths.
            condition: Formation energies in eV/atom, where known.

        Returns:
            Shape (n, latent).

        Raises:
            InputError: as in :meth:`prepare`, :meth:`bins`.
        """
        return self.encode_arrays(
            [self.prepare(crystal)[0] for crystal in crystals], self.bins(condition, len(crystals))
        )

    def encode_arrays(self, arrays: Sequence[CrystalArrays], bins: torch.Tensor) -> np.ndarray:
        """Return the latent means of primitive cells with their condition bins, shape (n, latent).

        Raises:
            InputError: if there is no cell.
        """
        if not arrays:
            msg = "no crystal was given; give at least one"
            raise InputError(msg)
        return encode_posteriors(self.network, arrays, bins, self.device).mean.numpy()

    def locate(
        self, crystals: Sequence[Crystal], condition: Sequence[float | None] | float | None = None
    ) -> np.ndarray:
        """Return latent vectors that decode to crystals: their means or, where these do not, better ones.

        About one crystal in fifty of a kind that the model knows needs it, and then five to ten seconds
        (:func:`icsg3d.generation.inversion.refined_latents`).

        Args:
            crystals: Structures, Atoms or paths.
            condition: Energies per atom in eV, where known.

        Returns:
            Shape (n, latent).

        Raises:
            InputError: as in :meth:`encode`.
        """
        return np.stack([each.latent for each in self.place(crystals, condition)])

    def place(
        self, crystals: Sequence[Crystal], condition: Sequence[float | None] | float | None = None
    ) -> list[Located]:
        """Prepare and locate crystals, once for all that follows; the arguments are those of :meth:`locate`.

        Raises:
            InputError: as in :meth:`encode`.
        """
        structures = [as_structure(crystal) for crystal in crystals]
        prepared = [self.prepare(structure) for structure in structures]
        latent = self._locate([arrays for arrays, _ in prepared], self.bins(condition, len(prepared)))
        return [Located(s, *cell, vector) for s, cell, vector in zip(structures, prepared, latent, strict=True)]

    def placed(self, crystal: Crystal | Located) -> Located:
        """Return a crystal in latent space, which it may be already."""
        return crystal if isinstance(crystal, Located) else self.place([crystal])[0]

    def _locate(self, arrays: Sequence[CrystalArrays], bins: torch.Tensor) -> np.ndarray:
        latent = self.encode_arrays(arrays, bins)
        parts = []
        for start in range(0, len(arrays), BATCH):
            part = slice(start, start + BATCH)
            batch = CrystalBatch.from_arrays(arrays[part], device=self.device)
            vectors = torch.as_tensor(latent[part], dtype=torch.float32, device=self.device)
            parts.append(refined_latents(self.network, batch, bins[part].to(self.device), vectors).cpu().numpy())
        return np.concatenate(parts)

    def decode(
        self, latent: np.ndarray, condition: Sequence[float | None] | float | None = None
    ) -> CrystalList[DecodedCrystal]:
        """Decode latent vectors: for each either a structure or the reason why there is none.

        Args:
            latent: Shape (n, latent).
            condition: Formation energies in eV/atom asked for; one for all, or one for each.

        Raises:
            InputError: if the vectors have the wrong length or are not finite.
        """
        return CrystalList(self.iter_decode(latent, condition))

    def iter_decode(
        self, latent: np.ndarray, condition: Sequence[float | None] | float | None = None
    ) -> Iterator[DecodedCrystal]:
        """Decode latent vectors one after the other, as :meth:`decode` does, so that each can be used at once."""
        latent = np.atleast_2d(np.asarray(latent, dtype=np.float32))
        size = self.network.config.vae.latent
        if latent.ndim != 2 or latent.shape[1] != size or not np.isfinite(latent).all():
            msg = f"expected finite latent vectors of shape (n, {size}), got {latent.shape}; use encode or sample"
            raise InputError(msg)
        bins = self.bins(condition, len(latent))
        for start in range(0, len(latent), BATCH):
            part = latent[start : start + BATCH]
            for vector, decoded in zip(part, self._decode(part, bins[start : start + BATCH]), strict=True):
                structure = None if decoded.crystal is None else from_arrays(decoded.crystal)
                yield DecodedCrystal(structure, decoded.reason, vector)

    @torch.no_grad()
    def decode_grids(self, latent: np.ndarray, condition: float | None = None) -> DecodedGrids:
        """Return the grids that up to 32 latent vectors decode to, before atoms are looked for, on the CPU."""
        latent = np.atleast_2d(latent)[:BATCH]
        grids = self.network.decode(*self._padded(latent, self.bins(condition, len(latent))))
        return DecodedGrids(*(tensor[: len(latent)].cpu() for tensor in grids))

    def _padded(self, latent: np.ndarray, bins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        vectors = torch.as_tensor(latent, dtype=torch.float32, device=self.device)
        return padded(vectors, bins.to(self.device))

    def _decode(self, latent: np.ndarray, bins: torch.Tensor) -> list[Decoded]:
        return decode_crystals(
            self.network, *self._padded(latent, bins), count=len(latent), symmetry_tolerance=self.symmetry_tolerance
        )

    def reconstruct(
        self, crystals: Sequence[Crystal], condition: Sequence[float | None] | float | None = None
    ) -> CrystalList[DecodedCrystal]:
        """Encode crystals and decode them again, in the cells in which they were given.

        Raises:
            InputError: as in :meth:`encode`.
        """
        located = self.place(crystals, condition)
        decoded = self.decode(np.stack([each.latent for each in located]), condition)
        return CrystalList(made.in_setting(each.setting) for made, each in zip(decoded, located, strict=True))

    def sample_around(
        self, structure: Crystal | Located, n: int, scale: float = SCALE, seed: int = 0
    ) -> CrystalList[DecodedCrystal]:
        """Decode neighbours of a crystal, in the cell in which it was given.

        The crystal's latent vector is mixed with noise and carried on by the latent flow
        (:meth:`icsg3d.models.density.LatentDensity.around`), so that neighbours lie where crystals do.

        Args:
            structure: Where to start; what :meth:`place` returned spares the way into latent space.
            n: Number of draws; the first of them do not depend on it.
            scale: Noise level: 0 is the crystal itself, 1 draws that know nothing of it.
            seed: Of the draws. The noise depends on it, on the number of the draw and on the crystal's composition.

        Raises:
            InputError: as in :meth:`prepare`, and if ``n`` or ``scale`` is out of range.
        """
        return CrystalList(self.iter_sample_around(structure, n, scale, seed))

    def iter_sample_around(
        self, structure: Crystal | Located, n: int, scale: float = SCALE, seed: int = 0
    ) -> Iterator[DecodedCrystal]:
        """Decode the draws of :meth:`sample_around` one after the other, so that one may stop early."""
        base = self.placed(structure)
        latent = self.latent_around(base, n, scale, seed)
        return (decoded.in_setting(base.setting) for decoded in self.iter_decode(latent))

    def latent_around(self, structure: Crystal | Located, n: int, scale: float = SCALE, seed: int = 0) -> np.ndarray:
        """Return the latent vectors that :meth:`sample_around` decodes, shape (n, latent)."""
        _check_count(n)
        if not 0 < scale <= 1:
            msg = f"the scale is a noise level above 0 and up to 1, got {scale}"
            raise InputError(msg)
        base = self.placed(structure)
        return self.density.around(base.latent, n, scale, seed, _number_of(base.arrays))

    def sample(self, n: int, condition: float | None = None, seed: int = 0) -> CrystalList[DecodedCrystal]:
        """Decode draws from the density of the training crystals in latent space.

        Args:
            n: Number of draws; the first of them do not depend on it.
            condition: Energy asked for, in eV/atom; what counts is the bin in which it lies
                (:meth:`icsg3d.models.generator.GeneratorConfig.energy_range`).
            seed: Of the draws.

        Raises:
            InputError: if ``n`` is below 1, the seed is negative, the condition is no number, or the model has none.
        """
        return self.decode(self.latent_sample(n, condition, seed), condition)

    def latent_sample(self, n: int, condition: float | None = None, seed: int = 0) -> np.ndarray:
        """Return the latent vectors that :meth:`sample` decodes, shape (n, latent)."""
        _check_count(n)
        if condition is not None and not np.isfinite(condition):
            msg = f"the energy to ask for is a number in eV per atom, got {condition}"
            raise InputError(msg)
        config = self.network.config
        return self.density.sample(n, int(self.bins(condition, 1)[0]), seed, config.guidance, config.temperature)

    def interpolate(
        self, start: Crystal | Located, end: Crystal | Located, steps: int = 10
    ) -> CrystalList[DecodedCrystal]:
        """Decode points between two crystals, on an arc in the noise of the latent flow and carried along it.

        Args:
            start: First crystal.
            end: Last crystal.
            steps: Number of points with both ends.

        Raises:
            InputError: as in :meth:`prepare`, and if there are fewer than two steps.
        """
        if whole_number(steps, "the number of steps") < 2:
            msg = f"a path has at least 2 steps, its ends; got {steps}"
            raise InputError(msg)
        first, last = self.placed(start).latent, self.placed(end).latent
        return self.decode(self.density.path(first, last, steps))

    def latent_distance(self, latent: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Return root-mean-square distances in standard deviations of the training crystals, shape (n,)."""
        return np.sqrt((((latent - origin) / self.density.scale()) ** 2).mean(-1))

    def as_dict(self) -> dict[str, Any]:
        """Return what identifies the model: its name and the hash of its weights."""
        return {"model": self.name, "model_sha256": self.digest}


def _number_of(crystal: CrystalArrays) -> int:
    """Return a number that belongs to the composition of a primitive cell, so that each base meets noise of its own."""
    numbers = np.sort(crystal.numbers).astype("<i8")
    return int(sha256(numbers.tobytes())[:8], 16)


def _check_count(n: int) -> None:
    whole_number(n, "the number of crystals", 1)
