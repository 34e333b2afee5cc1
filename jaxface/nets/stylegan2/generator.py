"""The generator: mapping and synthesis together."""

import dataclasses

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.stylegan2.config import GeneratorConfig, ReducedDtype
from jaxface.nets.stylegan2.mapping import MappingNetwork
from jaxface.nets.stylegan2.synthesis import Noise, SynthesisNetwork


class Generator(nnx.Module):
    """StyleGAN2's generator.

    ``generator.mapping(z, truncation=1.0) -> w_plus``,
    ``generator.synthesis(w_plus, noise="const") -> images``.
    """

    def __init__(self, config: GeneratorConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.mapping = MappingNetwork(
            z_dim=config.z_dim,
            c_dim=config.c_dim,
            w_dim=config.w_dim,
            num_ws=config.num_ws,
            num_layers=config.mapping_layers,
            lr_multiplier=config.mapping_lr_multiplier,
            w_mean_decay=config.w_mean_decay,
            residual_blocks=config.residual_blocks,
            residual_width=config.residual_width,
            rngs=rngs,
        )
        self.synthesis = SynthesisNetwork(config, rngs=rngs)

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.config.resolution

    @property
    def num_ws(self) -> int:
        """Rows of W+."""
        return self.config.num_ws

    @property
    def w_mean(self) -> jax.Array:
        """Running mean of W, [w_dim]."""
        if self.mapping.w_mean is None:
            raise ValueError("generator: its mapping network keeps no mean of W")
        return self.mapping.w_mean[...]

    def with_w_mean(self, w_mean: Float[Array, " d"]) -> "Generator":
        """A generator with another running mean of W, [w_dim]; this one stays as it is."""
        copy = jax.tree.map(lambda leaf: leaf, self)
        if copy.mapping.w_mean is None:
            raise ValueError("generator: its mapping network keeps no mean of W")
        copy.mapping.w_mean[...] = w_mean
        return copy

    def computing_in(self, dtype: ReducedDtype) -> "Generator":
        """A generator with the same arrays that computes in `dtype` at every resolution.

        Styles, demodulation and the sum of the RGB outputs stay float32.
        """
        copy = jax.tree.map(lambda leaf: leaf, self)
        every = len(self.config.block_resolutions)
        copy.config = dataclasses.replace(
            self.config, num_reduced_precision_res=every, reduced_dtype=dtype
        )
        for block in copy.synthesis.blocks:
            block.dtype = copy.config.dtype(block.resolution)
        return copy

    def __call__(
        self,
        z: Float[Array, "n z_dim"],
        c: Float[Array, "n labels"] | None = None,
        *,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        noise: Noise = "const",
    ) -> Float[Array, "n r r c"]:
        """[N, z_dim] to images [N, R, R, 3]; see the two parts for the arguments."""
        w_plus = self.mapping(z, c, truncation=truncation, truncation_cutoff=truncation_cutoff)
        return self.synthesis(w_plus, noise)


def with_synthesis(generator: Generator, variables: nnx.State) -> Generator:
    """A generator that draws with other weights or noise maps; the one given stays as it is.

    Args:
      generator: StyleGAN2's or MobileStyleGAN's.
      variables: of its synthesis network; those that are missing here are its own.
    """
    graphdef, own = nnx.split(generator.synthesis)
    copy = jax.tree.map(lambda leaf: leaf, generator)
    copy.synthesis = nnx.merge(graphdef, nnx.merge_state(own, variables))
    return copy
