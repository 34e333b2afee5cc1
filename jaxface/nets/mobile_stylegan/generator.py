"""MobileStyleGAN's generator: StyleGAN2's mapping network and the student's synthesis network."""

import dataclasses

import jax
from flax import nnx

from jaxface.nets.mobile_stylegan.config import MobileGeneratorConfig
from jaxface.nets.mobile_stylegan.synthesis import MobileSynthesis
from jaxface.nets.stylegan2.config import ReducedDtype
from jaxface.nets.stylegan2.generator import Generator
from jaxface.nets.stylegan2.mapping import MappingNetwork


class MobileGenerator(Generator):
    """A generator with StyleGAN2's interface, whose W is its teacher's and whose W+ has a row for
    each modulation; `jaxface.nets.mobile_stylegan.rows` maps between the two W+.
    """

    def __init__(self, config: MobileGeneratorConfig, *, rngs: nnx.Rngs):
        self.config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.mapping = MappingNetwork(
            z_dim=config.z_dim,
            c_dim=config.c_dim,
            w_dim=config.w_dim,
            num_ws=config.num_ws,
            num_layers=config.mapping_layers,
            lr_multiplier=config.mapping_lr_multiplier,
            w_mean_decay=config.w_mean_decay,
            rngs=rngs,
        )
        self.synthesis = MobileSynthesis(config, rngs=rngs)  # pyright: ignore

    def computing_in(self, dtype: ReducedDtype) -> "MobileGenerator":
        """A generator with the same arrays whose synthesis network computes in `dtype`.

        Styles and the image stay float32.
        """
        copy = jax.tree.map(lambda leaf: leaf, self)
        copy.config = dataclasses.replace(self.config, dtype=dtype)
        copy.synthesis.dtype = copy.config.compute_dtype
        return copy
