"""Checkpoints of the official CGCNN (Xie and Grossman 2018; github.com/txie-93/cgcnn) as property models.

Such a file is a pickle. It is read with torch's ``weights_only`` loader, which makes tensors and plain Python values
and, by name, the numpy scalars that these files hold; a file that asks for anything else is refused.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy._core.multiarray import scalar  # the constructor that pickles of numpy scalars name

from icsg3d.crystals.elements import N_CLASSES
from icsg3d.errors import InputError
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from icsg3d.models.targets import Property

_KNOWN = ("embedding.", "convs.", "conv_to_fc.", "fc_out.")
"""How the names of the layers begin that are converted."""

_HARMLESS: list[Any] = [
    (scalar, "numpy.core.multiarray.scalar"),
    (scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float32)),
    type(np.dtype(np.float64)),
]


def read_cgcnn(weights: Path, atom_init: Path, target: Property) -> PropertyModel:
    """Convert a checkpoint of the official CGCNN, of regression with one dense layer after pooling.

    The neighbours are then chosen as everywhere in this package, whole shells included; where the official network cuts
    a shell of equal distances, its predictions depend on the order of the atoms and differ from these.

    Args:
        weights: The ``.pth.tar`` file.
        atom_init: The ``atom_init.json`` it was trained with: feature vectors by atomic number.
        target: What it predicts; moduli are taken as decadic logarithms, as in the published files.

    Raises:
        InputError: if a file is missing, is something else, or asks for more than tensors and numbers.
    """
    checkpoint = _read(weights)
    state, normalizer = checkpoint.get("state_dict"), checkpoint.get("normalizer")
    if not isinstance(state, dict) or not isinstance(normalizer, dict) or "conv_to_fc.weight" not in state:
        msg = f"{weights} is no checkpoint of the official CGCNN: it lacks state_dict, normalizer or their entries"
        raise InputError(msg)
    unknown = sorted(name for name in state if not name.startswith(_KNOWN))
    if unknown:
        msg = f"{weights} has layers that cannot be converted ({', '.join(unknown[:3])}): only one dense layer is known"
        raise InputError(msg)
    features = _features(atom_init)
    try:
        width, node_features = state["embedding.weight"].shape
        layers = len({name.split(".")[1] for name in state if name.startswith("convs.")})
        network = CrystalGraphConfig.preset(
            "cgcnn",
            layers=layers,
            width=int(width),
            hidden=int(state["conv_to_fc.weight"].shape[0]),
            node_features=int(node_features),
        )
        known = tuple(int(number) for number in np.flatnonzero(features.any(1)))
        mean, scale = float(normalizer["mean"]), float(normalizer["std"])
        model = PropertyModel(PropertyModelConfig(target, network, 1, mean, scale, elements=known))
        model.members[0].load_state_dict(_renamed(state, int(width)) | {"features": torch.tensor(features)})
        _check_finite(model, mean, scale)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, OverflowError) as error:
        msg = f"{weights} and {atom_init.name} do not fit together as a regression CGCNN with one dense layer ({error})"
        raise InputError(msg) from error
    return model.eval()


def _check_finite(model: PropertyModel, mean: float, scale: float) -> None:
    numbers = [torch.tensor([mean, scale]), *model.state_dict().values()]
    if not all(torch.isfinite(tensor).all() for tensor in numbers):
        msg = "a weight is no finite number"
        raise ValueError(msg)


def _read(weights: Path) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # about old protocols
            checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        msg = f"there is no file {weights}; give a checkpoint of the official CGCNN"
        raise InputError(msg) from error
    except Exception as error:  # a damaged pickle may raise anything; the loader runs no code of the file
        # The rest of what torch says is advice on how to load it all the same.
        raise InputError(
            f"{weights} is refused: it is damaged or holds more than tensors and numbers ({type(error).__name__}); "
            "give a checkpoint of the official CGCNN"
        ) from error
    if not isinstance(checkpoint, dict):
        msg = f"{weights} is no checkpoint of the official CGCNN: it holds a {type(checkpoint).__name__}"
        raise InputError(msg)
    return checkpoint


def _features(atom_init: Path) -> np.ndarray:
    try:
        vectors = {int(number): vector for number, vector in json.loads(atom_init.read_text()).items()}
        table = np.zeros((N_CLASSES, len(next(iter(vectors.values())))), dtype=np.float32)
        for number, vector in vectors.items():
            if 0 < number < N_CLASSES:
                table[number] = vector
    except (OSError, ValueError, TypeError, AttributeError, StopIteration, OverflowError, RecursionError) as error:
        msg = f"{atom_init} is no table of feature vectors by atomic number ({error}); give CGCNN's atom_init.json"
        raise InputError(msg) from error
    return table


def _renamed(state: Mapping[str, torch.Tensor], width: int) -> dict[str, torch.Tensor]:
    """Return the official weights under our names; a convolution's linear map falls into its three parts."""
    renamed = {
        "embedding.weight": state["embedding.weight"],
        "embedding.bias": state["embedding.bias"],
        "dense.weight": state["conv_to_fc.weight"],
        "dense.bias": state["conv_to_fc.bias"],
        "output.weight": state["fc_out.weight"],
        "output.bias": state["fc_out.bias"],
    }
    norms = {"bn1": "message_norm", "bn2": "node_norm"}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] != "convs":
            continue
        prefix = f"convolutions.{parts[1]}"
        if parts[2] == "fc_full" and parts[3] == "weight":
            renamed[f"{prefix}.centre.weight"] = tensor[:, :width]
            renamed[f"{prefix}.neighbour.weight"] = tensor[:, width : 2 * width]
            renamed[f"{prefix}.edge.weight"] = tensor[:, 2 * width :]
        elif parts[2] == "fc_full":
            renamed[f"{prefix}.centre.bias"] = tensor
        else:
            renamed[f"{prefix}.{norms[parts[2]]}.{parts[3]}"] = tensor
            counted = f"{prefix}.{norms[parts[2]]}.num_batches_tracked"  # absent from files of old versions of torch
            renamed.setdefault(counted, torch.tensor(0))
    return renamed
