"""The encoders and decoders of the papers: modules whose forward returns a distribution."""

from pyro_decomp.networks.dcgan import ConvDecoder32, ConvEncoder32
from pyro_decomp.networks.faces_conv import FacesConvDecoder, FacesConvEncoder
from pyro_decomp.networks.perceptrons import Discriminator, MLPDecoder, MLPEncoder, NormalMLP
from pyro_decomp.networks.sprites import (
    SpritesConvDecoder,
    SpritesConvEncoder,
    SpritesMLPDecoder,
    SpritesMLPEncoder,
)

__all__ = [
    "ConvDecoder32",
    "ConvEncoder32",
    "Discriminator",
    "FacesConvDecoder",
    "FacesConvEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "NormalMLP",
    "SpritesConvDecoder",
    "SpritesConvEncoder",
    "SpritesMLPDecoder",
    "SpritesMLPEncoder",
]
