from .cgcnn import read_cgcnn
from .checkpoints import load_network, save_network
from .crystal_graph import CrystalGraphConfig, CrystalGraphNet
from .decoding import Decoded, decode_crystals
from .density import LatentDensity
from .encoding import encode_posteriors
from .flow import FlowConfig, LatentFlow
from .generator import DecodedGrids, GeneratorConfig, GeneratorNetwork
from .properties import PropertyModel, PropertyModelConfig, load_property_model, save_property_model
from .targets import PROPERTIES, Property, unknown_property
from .unet import SegmentationUNet, SegmentationUNetConfig
from .vae import CrystalVAE, CrystalVAEConfig, Posterior

__all__ = [
    "PROPERTIES",
    "CrystalGraphConfig",
    "CrystalGraphNet",
    "CrystalVAE",
    "CrystalVAEConfig",
    "Decoded",
    "DecodedGrids",
    "FlowConfig",
    "GeneratorConfig",
    "GeneratorNetwork",
    "LatentDensity",
    "LatentFlow",
    "Posterior",
    "Property",
    "PropertyModel",
    "PropertyModelConfig",
    "SegmentationUNet",
    "SegmentationUNetConfig",
    "decode_crystals",
    "encode_posteriors",
    "load_network",
    "load_property_model",
    "read_cgcnn",
    "save_network",
    "save_property_model",
    "unknown_property",
]
