"""Networks on disk: sizes as JSON, weights as safetensors, both checked when they are read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import safetensors
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from icsg3d.errors import InputError
from icsg3d.files import sha256, write_atomically
from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork
from icsg3d.models.unet import SegmentationUNetConfig
from icsg3d.models.vae import CrystalVAEConfig
from icsg3d.representation.voxels import VoxelConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import nn

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
GENERATOR_FORMAT = "icsg3d-generator-1"


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """Return a dataclass of what ``dataclasses.asdict`` made of one, lists as tuples.

    Raises:
        KeyError: if a name is missing or unknown.
    """
    fields = {field.name for field in dataclasses.fields(cls)}
    if set(values) != fields:
        msg = f"{cls.__name__} wants {sorted(fields)}, found {sorted(values)}"
        raise KeyError(msg)
    return cls(**{name: _tuples(value) for name, value in values.items()})


def write_model(
    folder: Path,
    format_name: str,
    settings: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
    extra: Mapping[str, torch.Tensor] | None = None,
    *,
    half: bool = False,
) -> str:
    """Write networks into a folder, sizes as JSON and weights as safetensors.

    Args:
        folder: Made if it does not exist.
        format_name: Of the configuration; checked when it is read.
        settings: From which the networks can be built again.
        networks: What is written, by name.
        extra: Further tensors that travel with the weights.
        half: Whether parameters are stored in 16 bits. Buffers, such as the statistics of batch norms, which may be out
            of the range of such numbers, are not.

    Returns:
        The SHA-256 of the weights file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"extra.{name}": tensor for name, tensor in (extra or {}).items()}
    for name, network in networks.items():
        parameters = {key for key, _ in network.named_parameters()} if half else set()
        for key, tensor in network.state_dict().items():
            tensors[f"{name}.{key}"] = tensor.half() if key in parameters else tensor
    data = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    digest = sha256(data)
    write_atomically(folder / WEIGHTS_FILE, data)
    config = {"format": format_name, "weights_sha256": digest, "network": settings}
    write_atomically(folder / CONFIG_FILE, json.dumps(config, indent=1).encode())
    return digest


def read_format(folder: Path) -> str | None:
    """Return the format that a model folder's configuration names, None if it names none."""
    try:
        settings = json.loads((folder / CONFIG_FILE).read_text())
    except (OSError, ValueError):
        return None
    return settings.get("format") if isinstance(settings, dict) else None


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
        InputError: if a file is missing, damaged, or does not fit the sizes.
    """
    way_out = "copy or train the model again, or name another with --model"
    try:
        settings = json.loads((folder / CONFIG_FILE).read_text())
        data = (folder / WEIGHTS_FILE).read_bytes()
    except FileNotFoundError as error:
        msg = f"{folder} is no model: it lacks {Path(error.filename).name}; {way_out}"
        raise InputError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"the model {folder} cannot be read ({error}); {way_out}"
        raise InputError(msg) from error
    if not isinstance(settings, dict) or settings.get("format") != format_name:
        kind = format_name.split("-")[1]
        msg = f"{folder / CONFIG_FILE} is not the configuration of an icsg3d {kind} ({format_name}); {way_out}"
        raise InputError(msg)
    digest = sha256(data)
    if digest != settings.get("weights_sha256"):
        msg = f"{folder / WEIGHTS_FILE} is damaged: its SHA-256 is not the one in {CONFIG_FILE}; {way_out}"
        raise InputError(msg)
    try:
        built = networks(settings["network"])
        tensors = load_tensors(data)
        for name, network in built.items():
            weights = {n.removeprefix(f"{name}."): t for n, t in tensors.items() if n.startswith(f"{name}.")}
            network.load_state_dict(weights, strict=True)
            network.eval()
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, safetensors.SafetensorError) as error:
        msg = f"the model {folder} does not fit this version of icsg3d ({error}); {way_out}"
        raise InputError(msg) from error
    return built, {n.removeprefix("extra."): t for n, t in tensors.items() if n.startswith("extra.")}, digest


def config_from_dict(values: Mapping[str, Any]) -> GeneratorConfig:
    """Return the configuration that ``dataclasses.asdict`` wrote.

    Raises:
        KeyError: if a name is missing or unknown.
    """
    parts = {"voxels": VoxelConfig, "vae": CrystalVAEConfig, "unet": SegmentationUNetConfig}
    return build(GeneratorConfig, {k: build(parts[k], v) if k in parts else v for k, v in values.items()})


def save_network(
    network: GeneratorNetwork, folder: Path, extra: Mapping[str, torch.Tensor] | None = None, *, half: bool = False
) -> str:
    """Write a generator into a folder, as :func:`write_model` does, and return the SHA-256 of its weights."""
    return write_model(
        folder, GENERATOR_FORMAT, dataclasses.asdict(network.config), {"network": network}, extra, half=half
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
