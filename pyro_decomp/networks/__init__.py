"""Encoders, decoders and discriminators, whose forward is a distribution; never a Pyro program."""

from pyro_decomp.networks.dcgan import ConvDecoder32, ConvEncoder32
from pyro_decomp.networks.faces_conv import FacesConvDecoder, FacesConvEncoder
from pyro_decomp.networks.for_sprites import (
    SpritesConvDecoder,
    SpritesConvEncoder,
    SpritesMLPDecoder,
    SpritesMLPEncoder,
)
from pyro_decomp.networks.perceptrons import Discriminator, MLPDecoder, MLPEncoder, NormalMLP

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
