"""The mapping network: Z (and a class label) to W; and a residual one beside it."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.latents import broadcast_w, truncate
from jaxface.nets.equalized_layers import Dense
from jaxface.nets.variables import Buffer


def normalize_2nd_moment(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Scale each row of [N, D] to unit mean square (epsilon 1e-8, as in the reference)."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=1, keepdims=True) + 1e-8)


class ResidualMapping(nnx.Module):
    """Z to W by a layer, blocks that each add to its units, and a linear layer.

    A block is two layers behind a normalisation (the order of He et al. 2016, Identity Mappings in
    Deep Residual Networks), the second of which begins at zero. StyleGAN2's mapping divides z by
    its length, which takes some of the size away from every coordinate; where coordinates are the
    factors of a scene their size counts, so this one reads z as it is.

    Args:
        width: units.
        blocks: >= 1.
        from_zero: whether the last layer begins at zero, as beside layers that are trained already.
    """

    def __init__(
        self,
        *,
        z_dim: int,
        w_dim: int,
        width: int,
        blocks: int,
        from_zero: bool,
        rngs: nnx.Rngs,
    ):
        self.first = Dense(z_dim, width, activation="lrelu", rngs=rngs)
        self.blocks = nnx.List(ResidualBlock(width, rngs=rngs) for _ in range(blocks))
        self.last = Dense(width, w_dim, rngs=rngs)
        if from_zero:
            self.last.weight[...] = jnp.zeros_like(self.last.weight[...])

    def __call__(self, z: Float[Array, "n z_dim"]) -> Float[Array, "n d"]:
        """[N, z_dim] to [N, w_dim], in float32."""
        x = self.first(z.astype(jnp.float32))
        for block in self.blocks:
            x = block(x)
        return self.last(normalize_2nd_moment(x))


class ResidualBlock(nnx.Module):
    """What a block of `ResidualMapping` adds to its units, and they."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.inner = Dense(width, width, activation="lrelu", rngs=rngs)
        self.outer = Dense(width, width, rngs=rngs)
        self.outer.weight[...] = jnp.zeros_like(self.outer.weight[...])

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """[N, width] to the same."""
        return x + self.outer(self.inner(normalize_2nd_moment(x)))


class MappingNetwork(nnx.Module):
    """Normalised latent through fully connected layers (Karras et al. 2019, section 2).

    Args:
        z_dim: 0 for the label mapping of a conditional discriminator.
        num_ws: rows of W+ to broadcast to; None returns W itself.
        w_mean_decay: decay of the running mean of W; None keeps no mean.
        residual_blocks: of a `ResidualMapping` whose W is added; 0 for none.
        residual_width: its units.
    """

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        num_layers: int,
        lr_multiplier: float,
        w_mean_decay: float | None,
        residual_blocks: int = 0,
        residual_width: int = 0,
        rngs: nnx.Rngs,
    ):
        self.z_dim, self.c_dim, self.num_ws = z_dim, c_dim, num_ws
        self.w_mean_decay = w_mean_decay
        self.embed = Dense(c_dim, w_dim, rngs=rngs) if c_dim else None
        sizes = [z_dim + (w_dim if c_dim else 0)] + [w_dim] * num_layers
        self.layers = nnx.List(
            Dense(a, b, activation="lrelu", lr_multiplier=lr_multiplier, rngs=rngs)
            for a, b in itertools.pairwise(sizes)
        )
        residual = {"width": residual_width, "blocks": residual_blocks, "from_zero": num_layers > 0}
        self.residual = (
            ResidualMapping(z_dim=z_dim, w_dim=w_dim, **residual, rngs=rngs)
            if residual_blocks
            else None
        )
        self.w_mean = None if w_mean_decay is None else Buffer(jnp.zeros((w_dim,)))

    @property
    def first_layers(self) -> list[Dense]:
        """The layers that read z."""
        residual = [] if self.residual is None else [self.residual.first]
        return [*list(self.layers)[:1], *residual]

    def to_w(
        self, z: Float[Array, "n z_dim"] | None, c: Float[Array, "n labels"] | None = None
    ) -> Float[Array, "n d"]:
        """Map to W without truncation or broadcasting.

        Args:
            z: [N, z_dim]; None when ``z_dim`` is 0.
            c: [N, c_dim] label; required when ``c_dim`` is not 0, refused when it is.

        Returns:
            w: [N, w_dim] float32.

        Raises:
            ValueError: if an input is missing, superfluous or of the wrong shape.
        """
        inputs = []
        for name, value, dim in (("z", z, self.z_dim), ("c", c, self.c_dim)):
            if dim == 0:
                if value is not None:
                    raise ValueError(f"mapping: this network takes no {name}, got {value.shape}")
                continue
            got = None if value is None else value.shape
            if value is None or value.ndim != 2 or value.shape[1] != dim:
                raise ValueError(f"mapping: expected {name} of shape [N, {dim}], got {got}")
            value = value.astype(jnp.float32)
            if name == "c" and self.embed is not None:
                value = self.embed(value)
            inputs.append(normalize_2nd_moment(value))
        x = jnp.concatenate(inputs, axis=1)
        for layer in self.layers:
            x = layer(x)
        if self.residual is None or z is None:
            return x
        added = self.residual(z)
        return x + added if self.layers else added

    def updated_w_mean(self, w: Float[Array, "n d"]) -> Float[Array, " d"]:
        """The running mean of W after seeing a batch ``w`` [N, w_dim]; the caller stores it."""
        if self.w_mean is None or self.w_mean_decay is None:
            raise ValueError("mapping: this network keeps no mean of W")
        batch_mean = jnp.mean(jax.lax.stop_gradient(w), axis=0)
        return batch_mean + (self.w_mean[...] - batch_mean) * self.w_mean_decay

    def __call__(
        self,
        z: Float[Array, "n z_dim"] | None,
        c: Float[Array, "n labels"] | None = None,
        *,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Float[Array, "n *rows d"]:
        """Map to W+ (or to W, where ``num_ws`` is None).

        Args:
            z: [N, z_dim].
            c: [N, c_dim] for a conditional network.
            truncation: psi; 1 leaves w alone, 0 gives the mean of W.
            truncation_cutoff: only the first this many rows are truncated; None for all.

        Returns:
            [N, num_ws, w_dim], or [N, w_dim].
        """
        w = self.to_w(z, c)
        if self.num_ws is None:
            return w
        w_plus = broadcast_w(w, self.num_ws)
        if truncation == 1.0:
            return w_plus
        if self.w_mean is None:
            raise ValueError("mapping: truncation needs a mean of W, and this network keeps none")
        return truncate(w_plus, self.w_mean[...], truncation, cutoff=truncation_cutoff)
