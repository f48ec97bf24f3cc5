"""Training of the generator: the U-Net first, the autoencoder second, then both end to end.

The order is that of Court et al. 2020; the last stage is ours: the species loss flows through the decoded grid into the
autoencoder. Grids are drawn on the device, batch by batch. Whatever is random depends on the seed, the epoch and the
step alone, so that a resumed training ends as if it had never stopped.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, DistributedSampler

from icsg3d.crystals.arrays import CrystalBatch, centred, lattice_parameters
from icsg3d.crystals.comparison import Rebuilt, compare
from icsg3d.errors import InputError
from icsg3d.models.decoding import decode_crystals
from icsg3d.models.generator import GeneratorNetwork, energy_bins
from icsg3d.models.losses import atoms_alike, grid_loss, kl_loss, perceptual_loss, segmentation_loss
from icsg3d.processors import Precision, bfloat16_wanted
from icsg3d.progress import task
from icsg3d.representation.voxels import atom_map
from icsg3d.training.augment import distorted_supercells
from icsg3d.training.data import Indices, seed_of
from icsg3d.training.options import TrainingOptions
from icsg3d.training.resuming import begin_training
from icsg3d.training.variants import symmetric_variants
from icsg3d.training.widening import widened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from icsg3d.models.generator import GeneratorConfig
    from icsg3d.progress import Task
    from icsg3d.training.data import CrystalSet
    from icsg3d.training.options import Stage

_log = logging.getLogger(__name__)

_MAX_GRADIENT = 1.0
"""Largest norm of the gradient of a step."""


class GeneratorTraining(lightning.LightningModule):
    """One network, the crystals it learns from and the crystals it is judged by.

    Args:
        config: Sizes; its elements and energy edges are those of the training crystals.
        training: Crystals to learn from.
        validation: Crystals to judge by.
        options: How to train.
        start: A network whose weights are the first ones, of the same sizes but perhaps with a narrower latent space.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        training: CrystalSet,
        validation: CrystalSet,
        options: TrainingOptions,
        start: GeneratorNetwork | None = None,
    ) -> None:
        super().__init__()
        self.network = GeneratorNetwork(config)
        self.options = options
        count = round(options.variants * len(training))
        related = symmetric_variants(training.crystals, count, config.max_length, options.seed)
        training = training.balanced(options.balance)
        extra = distorted_supercells(
            training.crystals, round(options.distorted * len(training)), config.max_length, options.seed
        )
        self.sets = {"training": training.with_unlabelled([*extra, *related]), "validation": validation}
        self._on_device: dict[str, tuple[CrystalBatch, torch.Tensor]] = {}
        if start is not None:  # with the mean and spread of the lattices that its weights belong to
            if start.config.vae.latent != config.vae.latent:
                start = widened(start, config.vae.latent, self.sets["training"], options.augmentation, options.seed)
            self.network.load_state_dict(start.state_dict())
            return
        parameters = lattice_parameters(training.batch().lattice)
        self.network.vae.lattice_mean.copy_(parameters.mean(0))
        self.network.vae.lattice_scale.copy_(parameters.std(0).clamp(min=0.02))

    def crystals(self, name: str) -> tuple[CrystalBatch, torch.Tensor]:
        """Return a set's crystals and condition bins on the module's device."""
        if name not in self._on_device:
            crystal_set = self.sets[name]
            bins = energy_bins(torch.as_tensor(crystal_set.energies), self.network.config.energy_edges)
            self._on_device[name] = (crystal_set.batch(self.device), bins.to(self.device))
        return self._on_device[name]

    def train_dataloader(self) -> DataLoader[int]:
        """Return the shuffled indices of the training crystals."""
        sampler: DistributedSampler[int] = DistributedSampler(
            Indices(len(self.sets["training"])),
            num_replicas=self.trainer.world_size,
            rank=self.trainer.global_rank,
            seed=self.options.seed,
            drop_last=True,
        )
        return DataLoader(
            sampler.dataset, batch_size=self.options.batch_size, sampler=sampler, drop_last=True, num_workers=0
        )

    def val_dataloader(self) -> DataLoader[int]:
        """Return the indices of the validation crystals."""
        return DataLoader(Indices(len(self.sets["validation"])), batch_size=64, num_workers=0)

    @property
    def stage(self) -> Stage:
        """The stage of the current epoch."""
        return self.options.stage(self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Let only the networks of the stage learn; the others keep their batch-norm statistics too."""
        for network, learns in (
            (self.network.vae, self.stage != "unet"),
            (self.network.unet, self.stage != "vae"),
        ):
            network.requires_grad_(learns)
            network.train(learns)

    def training_step(self, batch: torch.Tensor, _batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch of indices."""
        random = torch.Generator().manual_seed(seed_of(self.options.seed, self.global_step, self.global_rank))
        everything, bins = self.crystals("training")
        indices = batch.to(self.device)
        crystals = everything[indices].trimmed()
        known = torch.tensor(self.network.config.elements, device=self.device)
        crystals, original = self.options.augmentation(crystals, known, random)
        shown = torch.rand(len(crystals), generator=random).to(self.device) >= self.options.condition_dropout
        condition = bins[indices].masked_fill(~(original & shown), -1)
        terms = self._terms(crystals, condition, random)
        weights = self.options.weights
        loss = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, on_step=False, on_epoch=True)
        self.log("loss", loss, prog_bar=True)
        return loss

    def _terms(
        self, crystals: CrystalBatch, condition: torch.Tensor, random: torch.Generator
    ) -> dict[str, torch.Tensor]:
        if self.network.config.voxels.periodic:
            crystals = centred(crystals)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            voxels, grid = self.network.draw(crystals)
            alike = atoms_alike(atom_map(crystals, self.network.config.voxels))
        if self.stage == "unet":
            return self._species_terms(grid, voxels.species, alike)
        parameters = lattice_parameters(crystals.lattice)
        vae = self.network.vae
        posterior = vae.encode(grid, condition, parameters)
        noise = torch.randn(posterior.mean.shape, generator=random).to(self.device)
        decoded, lattice = vae.decode(posterior.sample(noise), condition)
        terms = {"grid": grid_loss(decoded, grid), "kl": kl_loss(posterior)}
        if lattice is not None:
            terms["lattice"] = ((lattice - parameters) / vae.lattice_scale).square().mean()
        if self.stage == "vae":
            with torch.no_grad():
                true_features = self.network.unet.features(grid)
            return terms | {"perceptual": perceptual_loss(self.network.unet.features(decoded), true_features)}
        return terms | self._species_terms(decoded, voxels.species, alike)

    def _species_terms(
        self, grid: torch.Tensor, species: torch.Tensor, voxels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        background = self.options.weights.background
        by_class, by_mask = segmentation_loss(self.network.unet(grid), species, background, voxels)
        return {"species": by_class.mean(), "atom": by_mask.mean()}

    def validation_step(self, batch: torch.Tensor, _batch_idx: int) -> None:
        """Rebuild a batch of crystals from their latent means and compare."""
        everything, bins = self.crystals("validation")
        indices = batch.to(self.device)
        results = rebuild(self.network, everything[indices].trimmed(), bins[indices])
        shares = {f"val/{name}": value for name, value in _shares(results).items()}
        self.log_dict(shares, prog_bar=True, batch_size=len(results), sync_dist=True)

    def on_before_optimizer_step(self, _optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient, which Lightning declines to do for a fused optimiser, and drop one that is not finite."""
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), _MAX_GRADIENT)
        if not torch.isfinite(norm):  # the optimiser passes over parameters without a gradient
            for parameter in self.network.parameters():
                parameter.grad = None

    def configure_optimizers(self) -> Any:
        """Return AdamW with warm-up, a plateau and a cosine decay over the whole training."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=True,
        )
        total = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.options.rate((step + 1) / total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _JointEarlyStopping(EarlyStopping):
    """Early stopping that waits for the last stage: before it, nothing is rebuilt."""

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look at how well crystals are rebuilt, if this is the last stage."""
        if isinstance(pl_module, GeneratorTraining) and pl_module.stage == "joint":
            super().on_validation_end(trainer, pl_module)


def rebuild(network: GeneratorNetwork, crystals: CrystalBatch, condition: torch.Tensor) -> list[Rebuilt]:
    """Rebuild crystals from their latent means and compare, one result per crystal."""
    if network.config.voxels.periodic:
        crystals = centred(crystals)
    with torch.no_grad():
        found = decode_crystals(network, network.encode(crystals, condition).mean, condition)
    return [compare(true, decoded.crystal) for true, decoded in zip(crystals.arrays(), found, strict=True)]


def _shares(results: Sequence[Rebuilt]) -> dict[str, float]:
    names = ("count", "species", "rebuilt", "quality")
    return {name: float(np.mean([getattr(r, name) for r in results])) for name in names}


def rebuilt_shares(network: GeneratorNetwork, crystals: CrystalSet) -> dict[str, float]:
    """Return the shares of crystals with the right atom count, besides the right species, and rebuilt altogether.

    With them comes the mean of :attr:`icsg3d.crystals.comparison.Rebuilt.quality`, the last share less errors.
    """
    bins = energy_bins(torch.as_tensor(crystals.energies), network.config.energy_edges)
    everything = crystals.batch()
    results = []
    for start in range(0, len(crystals), 32):
        part = slice(start, start + 32)
        results += rebuild(network, everything[part].trimmed(), bins[part])
    return _shares(results)


class _Progress(Callback):
    """Reports each epoch, and says which stage it belongs to."""

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        self.running: Task

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        epoch = trainer.current_epoch
        self.running.update(done=epoch, text=f"training ({self.options.stage(epoch)})")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        self.running.update(done=trainer.current_epoch + 1)


def _lightning_precision(config: GeneratorConfig, precision: Precision, accelerator: str) -> Any:
    """Return Lightning's name of the precision to train in, and tell of it.

    Raises:
        InputError: if bfloat16 is asked for where it does not work.
    """
    on_gpu = accelerator in {"gpu", "cuda"} or (accelerator == "auto" and torch.cuda.is_available())
    device = "cuda" if on_gpu else "cpu" if accelerator in {"auto", "cpu"} else accelerator
    # On CPUs bf16 gradients of convolutions with 4 channels, as the paper has, come out as garbage now and then.
    if not config.voxels.periodic and precision == "bfloat16":
        raise InputError("networks on grids that are not periodic train in float32; leave --precision out")
    half = config.voxels.periodic and bfloat16_wanted(precision, device)
    _log.info("training in %s on %s", "bfloat16" if half else "float32", device)
    return "bf16-mixed" if half else "32-true"


def train_generator(
    config: GeneratorConfig,
    training: CrystalSet,
    validation: CrystalSet,
    out: Path,
    options: TrainingOptions | None = None,
    *,
    accelerator: str = "auto",
    devices: int | str = "auto",
    precision: Precision = "auto",
    resume: bool = False,
    start: GeneratorNetwork | None = None,
) -> GeneratorNetwork:
    """Train a generator and return it as it was at its best on the validation crystals.

    Best is the most crystals rebuilt, and of about as many the most exactly
    (:attr:`icsg3d.crystals.comparison.Rebuilt.quality`).

    Args:
        config: Sizes of the networks.
        training: Crystals to learn from.
        validation: Crystals to judge by.
        out: Folder of checkpoints and logs.
        options: How to train.
        accelerator: Lightning's: ``cpu``, ``gpu``, ``auto``.
        devices: Lightning's number of devices; more than one share each epoch.
        precision: Of the networks on periodic grids: ``bfloat16``, ``float32``, or ``auto``, which takes bfloat16 where
            the processor multiplies it in hardware. What is learned differs by rounding alone.
        resume: Continue from the last checkpoint in ``out``, if there is one.
        start: A network whose weights are the first ones, of the same sizes but perhaps with a narrower latent space;
            without epochs it is what comes back.

    Raises:
        InputError: if the checkpoints to resume from are of another training.
    """
    options = options or TrainingOptions()
    if start is not None and not options.epochs:
        return start.eval()
    folder = out / "checkpoints"
    if is_main_process():  # those of further devices start when it trains
        begin_training(out, _fingerprint(config, training, validation, options, start), resume=resume)
        if not resume:  # checkpoints of an earlier training in the same folder
            shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(options.seed)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # tips and advertisements
    module = GeneratorTraining(config, training, validation, options, start)
    best = ModelCheckpoint(folder, filename="best", monitor="val/quality", mode="max", enable_version_counter=False)
    last = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    progress = _Progress(options)
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp_find_unused_parameters_true" if devices not in (1, "auto") else "auto",
        precision=_lightning_precision(config, precision, accelerator),
        max_epochs=options.epochs,
        callbacks=[best, last, progress, *_stopping(options)],
        logger=CSVLogger(out, name="log"),  # a new version_N each time training is resumed
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=max(1, min(50, len(module.sets["training"]) // options.batch_size)),
    )
    latest = folder / "last.ckpt"
    with task("training", total=options.epochs) as progress.running:
        trainer.fit(module, ckpt_path=str(latest) if resume and latest.exists() else None, weights_only=True)
    return _at_its_best(module, best, latest)


def _stopping(options: TrainingOptions) -> list[Callback]:
    """Return what ends a training early, if it is to end so."""
    if options.patience is None:
        return []
    return [_JointEarlyStopping("val/quality", mode="max", patience=options.patience)]


def _at_its_best(module: GeneratorTraining, best: ModelCheckpoint, latest: Path) -> GeneratorNetwork:
    """Return the network of the best epoch.

    Where no epoch rebuilt a crystal, the first would count as the best; the last has at least learned something.
    """
    rebuilt_any = best.best_model_score is not None and float(best.best_model_score) > 0
    chosen = torch.load(best.best_model_path if rebuilt_any else latest, map_location="cpu", weights_only=True)
    module.load_state_dict(chosen["state_dict"])
    return module.network.eval()


def _fingerprint(
    config: GeneratorConfig,
    training: CrystalSet,
    validation: CrystalSet,
    options: TrainingOptions,
    start: GeneratorNetwork | None,
) -> str:
    """Return a hash of all that a training depends on."""
    state = hashlib.sha256(f"{config!r} {options!r}".encode())
    for crystals in (training, validation):
        batch = crystals.batch()
        for tensor in (batch.numbers, batch.frac_coords, batch.lattice, torch.as_tensor(crystals.energies)):
            state.update(tensor.numpy().tobytes())
    for tensor in {} if start is None else start.state_dict().values():
        state.update(tensor.cpu().numpy().tobytes())
    return state.hexdigest()


def is_main_process() -> bool:
    """Return whether this process is the one that writes, of several that share a training."""
    return int(getattr(rank_zero_only, "rank", None) or 0) == 0
