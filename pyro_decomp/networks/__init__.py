"""Encoders, decoders and discriminators, whose forward is a distribution; never a Pyro program."""

from pyro_decomp.networks.dcgan import ConvDecoder32, ConvEncoder32
from pyro_decomp.networks.discriminator import Discriminator
from pyro_decomp.networks.faces_conv import FacesConvDecoder, FacesConvEncoder
from pyro_decomp.networks.normal import MIN_SCALE
from pyro_decomp.networks.perceptrons import MLPDecoder, MLPEncoder, NormalMLP
from pyro_decomp.networks.sprites_conv import SpritesConvDecoder, SpritesConvEncoder
from pyro_decomp.networks.sprites_mlp import SpritesMLPDecoder, SpritesMLPEncoder

__all__ = [
    "MIN_SCALE",
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
