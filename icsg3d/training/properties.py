"""Training of property models: ensembles of crystal-graph networks, from scratch or from another property's networks.

A training is a row of phases. From scratch it is one, in which everything learns; the transfer of Court et al. 2020
(Supporting Information, section 2.6) is two. Whatever is random depends on the seed, the member and the epoch alone.
"""

from __future__ import annotations

import logging
import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pytorch_lightning as lightning
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler

from icsg3d.crystals.elements import N_CLASSES
from icsg3d.models.environment_net import EnvironmentNetConfig
from icsg3d.models.properties import new_network, transform, untransform
from icsg3d.training.data import Indices, check_seed, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from icsg3d.models.environment_net import EnvironmentNet
    from icsg3d.models.properties import Network, PropertyModelConfig
    from icsg3d.representation.environments import EnvironmentSet
    from icsg3d.representation.graphs import GraphSet
    from icsg3d.training.data import PropertySet

Learns = Literal["everything", "dense", "not_norms"]

_MAX_GRADIENT = 1.0
"""Largest norm of the gradient of a step."""

_VALIDATION_BATCH = 256


@dataclass(frozen=True)
class TrainingPhase:
    """A part of a training.

    Attributes:
        name: As it is called in logs and folders.
        epochs: Passes over the training crystals.
        learning_rate: Highest of AdamW.
        learns: ``everything``; ``dense``, the layers after pooling; or ``not_norms``, all but the scales, shifts and
            statistics of the norms of the graph layers.
        warm_up: Share of the steps in which the learning rate rises; it then falls to nothing as a cosine.
        left_out: Scales whose crystals take no part.
    """

    name: str
    epochs: int
    learning_rate: float
    learns: Learns = "everything"
    warm_up: float = 0.1
    left_out: tuple[int, ...] = ()

    def rate(self, progress: float) -> float:
        """Return the learning rate, as a share of its maximum, after a share of all steps."""
        if progress < self.warm_up:
            return progress / self.warm_up
        return 0.5 + 0.5 * math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up))


def from_scratch(epochs: int, learning_rate: float) -> tuple[TrainingPhase, ...]:
    """Return the single phase of a training from scratch, or of a fine-tuning of everything."""
    return (TrainingPhase("everything", epochs, learning_rate),)


def after_teachers(teachers: tuple[int, ...], learning_rate: float, epochs: int = 8) -> tuple[TrainingPhase, ...]:
    """Return the phase that follows where another model labelled crystals: without them, at 15 % of the rate.

    Args:
        teachers: Scales of the crystals with such labels.
        learning_rate: Highest of the phases before.
        epochs: Passes over the other crystals.
    """
    return (TrainingPhase("without_teachers", epochs, 0.15 * learning_rate, left_out=teachers),) if teachers else ()


def paper_transfer(learning_rate: float, epochs: int = 120, last_epochs: int = 10) -> tuple[TrainingPhase, ...]:
    """Return the phases of section 2.6: the dense layers, then all but the norms at a hundredth of the rate."""
    return (
        TrainingPhase("dense", epochs, learning_rate, "dense"),
        TrainingPhase("all", last_epochs, learning_rate / 100, "not_norms"),
    )


@dataclass(frozen=True)
class PropertyOptions:
    """How a property model is trained.

    Attributes:
        phases: One after another.
        batch_size: Crystals of a step.
        weight_decay: Of AdamW.
        reference_penalty: How strongly the constants per element of other scales are held at zero.
        seed: Of everything random; each member adds its number.
    """

    phases: tuple[TrainingPhase, ...]
    batch_size: int = 64
    weight_decay: float = 1e-2
    reference_penalty: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the seed.

        Raises:
            InputError: if it is none.
        """
        check_seed(self.seed)


class PropertyTraining(lightning.LightningModule):
    """One network in one phase, the crystals it learns from and those it is judged by.

    Args:
        network: What learns.
        references: Constants per element of each scale, shape (scales, 95); those of scale 0 count as zero.
        config: Of the property and its scaling.
        sets: ``training`` and ``validation`` crystals.
        phase: Which it is.
        options: How to train.
        seed: Of the order of the crystals.
    """

    def __init__(
        self,
        network: Network,
        references: nn.Parameter,
        config: PropertyModelConfig,
        sets: dict[str, PropertySet],
        phase: TrainingPhase,
        options: PropertyOptions,
        seed: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.references = references
        if phase.left_out:
            part = np.flatnonzero(~np.isin(sets["training"].scales, phase.left_out))
            sets = sets | {"training": sets["training"].subset(part)}
        self.config, self.sets, self.phase, self.options, self.seed = config, sets, phase, options, seed
        self.targets = {
            name: ((transform(torch.as_tensor(each.values), config.property) - config.mean) / config.scale).float()
            for name, each in sets.items()
        }
        self._pooled: torch.Tensor | None = None
        self._shares = torch.as_tensor(sets["training"].graphs.shares(N_CLASSES))
        network.train()
        self._fixed = freeze(network, phase.learns)

    def train_dataloader(self) -> DataLoader[int]:
        """Return the shuffled indices of the training crystals."""
        indices, size = Indices(len(self.sets["training"])), self.options.batch_size
        sampler: DistributedSampler[int] = DistributedSampler(
            indices, num_replicas=1, rank=0, seed=self.seed, drop_last=False
        )
        return DataLoader(indices, batch_size=size, sampler=sampler, drop_last=len(indices) >= size, num_workers=0)

    def val_dataloader(self) -> DataLoader[int]:
        """Return the indices of the validation crystals."""
        return DataLoader(Indices(len(self.sets["validation"])), batch_size=_VALIDATION_BATCH, num_workers=0)

    def on_train_epoch_start(self) -> None:
        """Keep what does not learn as it is, statistics of batch norms included."""
        for module in self._fixed:
            module.eval()

    def training_step(self, batch: torch.Tensor, _batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch of indices: the mean absolute error on the learned scale."""
        torch.manual_seed(seed_of(self.seed, self.global_step))  # a resumed training repeats its dropout
        target = self.targets["training"][batch].to(self.device)
        if self.phase.learns == "dense":
            predicted = self.network.head(self._all_pooled()[batch.to(self.device)])
        else:
            predicted = self.network(self.sets["training"].graphs.batch(batch.numpy()).to(self.device))
        loss = F.l1_loss(predicted + self._shift(batch), target)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss + self.options.reference_penalty * self.references.square().sum()

    def _all_pooled(self) -> torch.Tensor:
        """Return the pooled atoms of all training crystals, computed once: nothing before them learns."""
        if self._pooled is None:
            self._pooled = pooled(self.network, self.sets["training"].graphs, self.device)
        return self._pooled

    def _shift(self, batch: torch.Tensor) -> torch.Tensor:
        """Return what the references of each crystal's scale add to its value, averaged over its atoms."""
        constants = self.references * (torch.arange(len(self.references), device=self.device) > 0)[:, None]
        scales = torch.as_tensor(self.sets["training"].scales[batch.numpy()], device=self.device)
        return (constants[scales] * self._shares[batch].to(self.device)).sum(1)

    def validation_step(self, batch: torch.Tensor, _batch_idx: int) -> None:
        """Log the mean absolute error in the property's unit."""
        graphs = self.sets["validation"].graphs.batch(batch.numpy()).to(self.device)
        predicted = self.network(graphs).double() * self.config.scale + self.config.mean
        values = untransform(predicted, self.config.property)[0]
        true = torch.as_tensor(self.sets["validation"].values[batch.numpy()], device=self.device)
        self.log("val/mae", (values - true).abs().mean(), batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        """Return AdamW with a warm-up and a cosine decay over the whole phase."""
        learns = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            learns, lr=self.phase.learning_rate, weight_decay=self.options.weight_decay, foreach=True
        )
        total = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.phase.rate((step + 1) / (total + 1)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def freeze(network: Network, learns: Learns) -> list[nn.Module]:
    """Let only those parameters learn that a phase lets, and return the modules that stay as they are."""
    network.requires_grad_(True)  # noqa: FBT003
    fixed: list[nn.Module] = []
    if learns == "dense":
        fixed = [network.graph_layers()]
    elif learns == "not_norms":
        fixed = [m for m in network.graph_layers().modules() if isinstance(m, nn.BatchNorm1d | nn.LayerNorm)]
    for module in fixed:
        module.requires_grad_(False)  # noqa: FBT003
    return fixed


def pooled(network: Network, graphs: GraphSet | EnvironmentSet, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the pooled atoms of crystals, shape (n, width), with the network in evaluation mode."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    with torch.no_grad():
        parts = [cast("Any", network).embed(batch.to(device)) for batch in graphs.batches()]
    for module, training in modes.items():
        module.training = training
    return torch.cat(parts)


class _Report(Callback):
    def __init__(self, report: Callable[[], None]) -> None:
        self.report = report

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        self.report()


def train_network(
    config: PropertyModelConfig,
    training: PropertySet,
    validation: PropertySet,
    out: Path,
    options: PropertyOptions,
    *,
    member: int = 0,
    start: Network | None = None,
    accelerator: str = "auto",
    resume: bool = False,
    report: Callable[[], None] = lambda: None,
) -> Network:
    """Train one network of an ensemble through all phases.

    Args:
        config: Of the property and its scaling.
        training: Crystals to learn from.
        validation: Crystals to judge by; they choose nothing.
        out: Folder of checkpoints and logs.
        options: How to train.
        member: Number of the network in its ensemble.
        start: Network to start from; its dense layers, which know another property, start anew. One on environments
            grows to the degree of the config.
        accelerator: Lightning's: ``cpu``, ``gpu``, ``auto``.
        resume: Continue from the last checkpoint in ``out``, if there is one.
        report: Called after each epoch.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # tips and advertisements
    if not resume:  # checkpoints of an earlier training in the same folder
        shutil.rmtree(out / f"member-{member}", ignore_errors=True)
    seed = 1000 * options.seed + member
    torch.manual_seed(seed)
    network = new_network(config.network)
    if start is not None:
        if isinstance(config.network, EnvironmentNetConfig):
            start = cast("EnvironmentNet", start).grown(config.network.graph.degree)
        network.graph_layers().load_state_dict(start.graph_layers().state_dict())
        network.features.copy_(start.features)
    references = nn.Parameter(torch.zeros(int(training.scales.max(initial=0)) + 1, N_CLASSES))
    sets = {"training": training, "validation": validation}
    for number, phase in enumerate(options.phases):
        folder = out / f"member-{member}" / f"{number}-{phase.name}"
        module = PropertyTraining(network, references, config, sets, phase, options, seed)
        _fit(module, folder, accelerator=accelerator, resume=resume, report=report)
    return network.cpu().eval()


def _fit(module: PropertyTraining, folder: Path, *, accelerator: str, resume: bool, report: Callable[[], None]) -> None:
    latest = folder / "last.ckpt"
    epochs = module.phase.epochs
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=epochs,
        callbacks=[
            ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False),
            _Report(report),
        ],
        logger=CSVLogger(folder, name="log"),
        gradient_clip_val=_MAX_GRADIENT,
        check_val_every_n_epoch=max(1, epochs // 20),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, ckpt_path=str(latest) if resume and latest.exists() else None, weights_only=True)
