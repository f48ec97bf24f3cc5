"""Networks on disk: sizes as JSON, weights as safetensors, both checked when they are read."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch.overrides import TorchFunctionMode

from icsg3d.errors import InputError
from icsg3d.files import sha256, write_atomically
from icsg3d.models.compact_weights import restored, stored
from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork
from icsg3d.models.schema import check_fields
from icsg3d.models.unet import SegmentationUNetConfig
from icsg3d.models.vae import CrystalVAEConfig
from icsg3d.representation.voxels import VoxelConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from icsg3d.models.compact_weights import Bits

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
GENERATOR_FORMAT = "icsg3d-generator-1"

HASH = "config_sha256"
"""Where a configuration holds the digest of the rest of it; models of older versions have none."""

_MOST_CONFIG = 1_000_000
"""Bytes of a configuration."""

_SPARE = 10_000_000
"""Numbers that networks may hold beside their weights, such as tables that are built with the network."""

_WAY_OUT = "copy or train the model again, or name another with --model"


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """Return a dataclass of what ``dataclasses.asdict`` made of one, lists as tuples, each value checked.

    Raises:
        KeyError: if a name is missing or unknown.
        ValueError: if a value is of another kind than its field, or out of range (:mod:`icsg3d.models.schema`).
    """
    fields = {name: _tuples(value) for name, value in values.items()}
    check_fields(cls, fields)
    return cls(**fields)


def write_model(
    folder: Path,
    format_name: str,
    settings: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
    extra: Mapping[str, torch.Tensor] | None = None,
    *,
    bits: Bits = 32,
) -> str:
    """Write networks into a folder, sizes as JSON and weights as safetensors.

    Args:
        folder: Made if it does not exist.
        format_name: Of the configuration; checked when it is read.
        settings: From which the networks can be built again.
        networks: What is written, by name.
        extra: Further tensors that travel with the weights, stored as they are.
        bits: Of a stored weight. Buffers, such as the statistics of batch norms, which may be out of the range of
            smaller numbers, are stored as they are.

    Returns:
        The SHA-256 of the weights file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"extra.{name}": tensor for name, tensor in (extra or {}).items()}
    for name, network in networks.items():
        parameters = {key for key, _ in network.named_parameters()}
        for key, tensor in network.state_dict().items():
            tensors |= stored(f"{name}.{key}", tensor, bits if key in parameters else 32)
    data = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    digest = sha256(data)
    write_atomically(folder / WEIGHTS_FILE, data)
    config = {"format": format_name, "weights_sha256": digest, "network": settings}
    write_atomically(folder / CONFIG_FILE, json.dumps(config | {HASH: config_digest(config)}, indent=1).encode())
    return digest


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration's content, however it is laid out, the digest itself aside."""
    content = {name: value for name, value in config.items() if name != HASH}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def read_format(folder: Path) -> str | None:
    """Return the format that a model folder's configuration names, None if it names none."""
    try:
        settings = _read_config(folder / CONFIG_FILE)
    except (OSError, ValueError):
        return None
    found = settings.get("format") if isinstance(settings, dict) else None
    return found if isinstance(found, str) else None


def _bytes(path: Path, most: int = -1) -> bytes:
    """Return the first bytes of a file, by default all; a pipe or a folder counts as none."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    with path.open("rb") as file:
        return file.read(most)


def _read_config(path: Path) -> Any:
    """Return the content of a configuration.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is too long, or no JSON.
    """
    data = _bytes(path, _MOST_CONFIG + 1)
    if len(data) > _MOST_CONFIG:
        raise ValueError(f"{path.name} has more than {_MOST_CONFIG} bytes")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def read_model(
    folder: Path, format_name: str, networks: Callable[[Mapping[str, Any]], dict[str, nn.Module]]
) -> tuple[dict[str, nn.Module], dict[str, torch.Tensor], str]:
    """Read what :func:`write_model` wrote.

    Args:
        folder: Of the model.
        format_name: That it must have.
        networks: Builds the networks, by name, from the settings.

    Returns:
        The networks in evaluation mode, the further tensors, and the SHA-256 of the weights.

    Raises:
        InputError: if a file is missing or damaged, a size is out of range, the weights do not fit the sizes, or one of
            them is not a finite number.
    """
    try:
        config = _read_config(folder / CONFIG_FILE)
        data = _bytes(folder / WEIGHTS_FILE)
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no model: it lacks {Path(error.filename).name}; {_WAY_OUT}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"the model {folder} cannot be read ({error}); {_WAY_OUT}") from error
    digest = _check_config(folder, format_name, config, data)
    try:
        tensors = restored(load_tensors(data))
        built = _built(networks, config["network"], tensors)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        OverflowError,
        RecursionError,
        MemoryError,
        safetensors.SafetensorError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"the model {folder} does not fit this version of icsg3d ({reason}); {_WAY_OUT}") from error
    return built, {n.removeprefix("extra."): t for n, t in tensors.items() if n.startswith("extra.")}, digest


def _check_config(folder: Path, format_name: str, config: Any, data: bytes) -> str:
    """Check the digests of configuration and weights, and return that of the weights.

    Raises:
        InputError: if the format is another, or a digest is not the one of the content.
    """
    path = folder / CONFIG_FILE
    if not isinstance(config, dict) or config.get("format") != format_name:
        kind = format_name.split("-")[1]
        raise InputError(f"{path} is not the configuration of an icsg3d {kind} ({format_name}); {_WAY_OUT}")
    if config.get(HASH, config_digest(config)) != config_digest(config):
        raise InputError(f"{path} was changed or damaged: its SHA-256 is not the one it holds; {_WAY_OUT}")
    digest = sha256(data)
    if digest != config.get("weights_sha256"):
        raise InputError(f"{folder / WEIGHTS_FILE} is damaged: its SHA-256 is not the one in {CONFIG_FILE}; {_WAY_OUT}")
    return digest


def _part(tensors: Mapping[str, torch.Tensor], network: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(f"{network}."): tensor for n, tensor in tensors.items() if n.startswith(f"{network}.")}


def _built(
    networks: Callable[[Mapping[str, Any]], dict[str, nn.Module]],
    settings: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
) -> dict[str, nn.Module]:
    """Return networks in evaluation mode with weights that fit them.

    Raises:
        ValueError: if the sizes ask for far more numbers than there are weights, or a weight is not a finite number.
        RuntimeError: if there are other weights, or weights of another shape.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"the weights {name} hold something that is not a finite number")
    with _Budget(_SPARE + 2 * sum(tensor.numel() for tensor in tensors.values())):
        built = networks(settings)
    for name, network in built.items():
        weights = {n.removeprefix(f"{name}."): t for n, t in tensors.items() if n.startswith(f"{name}.")}
        network.load_state_dict(weights, strict=True)
        network.eval()
    return built


class _Budget(TorchFunctionMode):
    """Refuses new tensors before memory is taken for them, once they have more numbers together than allowed."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in {torch.empty, torch.zeros, torch.ones, torch.full} and args:
            size = args if isinstance(args[0], int) else args[0]
            self.left -= math.prod(size)
            if self.left < 0:
                raise ValueError("its sizes ask for more memory than its weights fill")
        return func(*args, **(kwargs or {}))


def config_from_dict(values: Mapping[str, Any]) -> GeneratorConfig:
    """Return the configuration that ``dataclasses.asdict`` wrote.

    Raises:
        KeyError: if a name is missing or unknown.
    """
    parts = {"voxels": VoxelConfig, "vae": CrystalVAEConfig, "unet": SegmentationUNetConfig}
    return build(GeneratorConfig, {k: build(parts[k], v) if k in parts else v for k, v in values.items()})


def save_network(
    network: GeneratorNetwork, folder: Path, extra: Mapping[str, torch.Tensor] | None = None, *, bits: Bits = 32
) -> str:
    """Write a generator into a folder, as :func:`write_model` does, and return the SHA-256 of its weights."""
    return write_model(
        folder, GENERATOR_FORMAT, dataclasses.asdict(network.config), {"network": network}, extra, bits=bits
    )


def load_network(folder: Path) -> tuple[GeneratorNetwork, dict[str, torch.Tensor], str]:
    """Read what :func:`save_network` wrote, as :func:`read_model` does.

    Raises:
        InputError: if a file is missing, damaged, or does not fit the sizes.
    """
    networks, extra, digest = read_model(
        folder, GENERATOR_FORMAT, lambda values: {"network": GeneratorNetwork(config_from_dict(values))}
    )
    return cast("GeneratorNetwork", networks["network"]), extra, digest
