"""The Latent Difference Encoder and what it is compared with (Herrmann and Zengerle 2020).

A code of W+ and a landmark image become the code of the same portrait with those landmarks:

    w_plus' = w_plus + D([R(w_plus), C(landmarks)])

R reads each row of the code, C the landmark image, D gives each row its difference. The authors'
code has accidents that the paper does not mention; each is a choice of the configuration, and
`CODE` takes all of them: one matrix of R and one of D serve every row (``shared_rows``); norms of
rows take one mean and variance for a whole row (``row_norms``); and the difference is normalised
last, without a gain, so that its size is fixed (``normalised_difference``). Without them rows have
matrices and norms of their own and D ends in a plain matrix that begins at zero.

`KeypointEncoder` reads the landmarks' coordinates in place of their image. `NaiveEncoder` makes a
code of a portrait and a landmark image at once, without an inversion.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.latents import check_w_plus
from jaxface.nets.encoders.in_domain import InDomainConfig
from jaxface.nets.encoders.residual_trunk import (
    DEVIATION,
    ResidualTrunk,
    StyleHead,
    TrunkConfig,
    activated,
    check_square,
    small_normal,
)
from jaxface.nets.torch_layers import BatchNorm, Linear

NUM_LANDMARKS = 68

CODE = {"shared_rows": True, "row_norms": True, "normalised_difference": True}
"""The form of the authors' code."""


@dataclasses.dataclass(frozen=True)
class LatentDifferenceConfig(TrunkConfig):
    """Sizes and form. The defaults' sizes are the published ones for 128 px; the form is the
    paper's, without the code's accidents.

    Raises:
        ValueError: as `TrunkConfig`, and for sizes below 1.
    """

    num_ws: int = 12
    """Rows of W+, ``2 log2(the generator's resolution) - 2``."""
    w_dim: int = 512
    landmark_features: int = 160
    """What a row gets of the landmarks."""
    latent_features: int = 32
    """What a row gets of its own code."""
    shared_rows: bool = False
    """One matrix for all rows, see the module."""
    row_norms: bool = False
    """Norms over rows, not over single features."""
    normalised_difference: bool = False
    """The difference is normalised without a gain."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = (self.num_ws, self.w_dim, self.landmark_features, self.latent_features)
        if min(sizes) < 1:
            raise ValueError(
                f"{type(self).__name__}: expected a positive num_ws, w_dim, landmark_features and "
                f"latent_features, got {', '.join(map(str, sizes))}"
            )


@dataclasses.dataclass(frozen=True)
class KeypointConfig(LatentDifferenceConfig):
    """Of the encoder of coordinates. Its ``width`` and ``max_width`` have no part in it."""

    pixels: bool = False
    """Coordinates are read as pixels of an image of ``resolution``, as in the code; else in shares
    of it, from -1 to 1."""


@dataclasses.dataclass(frozen=True)
class NaiveConfig(InDomainConfig):
    """Of the naive encoder: as the in-domain encoder's."""


class RowLinear(nnx.Module):
    """A matrix for each row, or one for all of them."""

    def __init__(
        self,
        rows: int,
        in_features: int,
        out_features: int,
        *,
        shared: bool,
        start: float,
        bias: bool,
        rngs: nnx.Rngs,
    ):
        shape = (1 if shared else rows, in_features, out_features)
        self.weight = nnx.Param(start * jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((rows, out_features))) if bias else None

    def __call__(self, x: Float[Array, "n l i"]) -> Float[Array, "n l o"]:
        """[N, rows, in] to [N, rows, out]."""
        weight = self.weight[...].astype(x.dtype)
        y = x @ weight[0] if weight.shape[0] == 1 else jnp.einsum("nli,lio->nlo", x, weight)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class RowNorm(nnx.Module):
    """Batch normalisation of [N, rows, features] without gain.

    Args:
        by_row: a row has one mean and variance over batch and features; else every feature of every
            row has its own over the batch.
    """

    def __init__(self, rows: int, features: int, *, by_row: bool, rngs: nnx.Rngs):
        self.by_row = by_row
        count = rows if by_row else rows * features
        self.norm = BatchNorm(count, gain=False, unbiased=not by_row, rngs=rngs)

    def __call__(self, x: Float[Array, "n l c"]) -> Float[Array, "n l c"]:
        """[N, rows, features] to the same."""
        if self.by_row:
            return self.norm(x.swapaxes(1, 2)).swapaxes(1, 2)
        return self.norm(x.reshape(len(x), -1)).reshape(x.shape)


class DifferenceDecoder(nnx.Module):
    """R and D: a code and what is known of the landmarks to the difference."""

    def __init__(self, config: LatentDifferenceConfig, *, rngs: nnx.Rngs):
        self.config = config
        rows, last = config.num_ws, config.normalised_difference
        self.latent = RowLinear(
            rows,
            config.w_dim,
            config.latent_features,
            shared=config.shared_rows,
            start=DEVIATION,
            bias=False,
            rngs=rngs,
        )
        self.latent_norm = RowNorm(rows, config.latent_features, by_row=config.row_norms, rngs=rngs)
        self.difference = RowLinear(
            rows,
            config.latent_features + config.landmark_features,
            config.w_dim,
            shared=config.shared_rows,
            start=DEVIATION if last else 0.0,
            bias=not last,
            rngs=rngs,
        )
        self.difference_norm = (
            RowNorm(rows, config.w_dim, by_row=config.row_norms, rngs=rngs) if last else None
        )

    def __call__(
        self, w_plus: Float[Array, "n l d"], landmarks: Float[Array, "n f"]
    ) -> Float[Array, "n l d"]:
        """The manipulated code of a code and the landmarks' features, [N, num_ws, w_dim]."""
        own = activated(self.latent_norm(self.latent(w_plus)))
        told = jnp.broadcast_to(landmarks[:, None], (*own.shape[:2], landmarks.shape[1]))
        difference = self.difference(jnp.concatenate([own, told], axis=2))
        if self.difference_norm is not None:
            difference = self.difference_norm(difference)
        return w_plus + difference


class LandmarkFeatures(nnx.Module):
    """Dense layer without bias, norm without gain, leaky ReLU."""

    def __init__(self, in_features: int, features: int, *, rngs: nnx.Rngs):
        self.dense = Linear(in_features, features, bias=False, rngs=rngs)
        small_normal(self.dense, rngs)
        self.norm = BatchNorm(features, gain=False, rngs=rngs)

    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n f"]:
        """[N, in_features] to [N, features]."""
        return activated(self.norm(self.dense(x)))


class LatentDifferenceEncoder(nnx.Module):
    """Codes and landmark images to codes."""

    def __init__(self, config: LatentDifferenceConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = ResidualTrunk(config, 3, rngs=rngs)
        self.features = LandmarkFeatures(config.flat_size, config.landmark_features, rngs=rngs)
        self.decoder = DifferenceDecoder(config, rngs=rngs)

    def __call__(
        self, w_plus: Float[Array, "n l d"], landmarks: Float[Array, "n r r 3"]
    ) -> Float[Array, "n l d"]:
        """Codes of the same portraits with other landmarks.

        Args:
            w_plus: [N, num_ws, w_dim].
            landmarks: landmark images [N, resolution, resolution, 3] in [-1, 1], as
                `jaxface.media.landmark_images` draws them.

        Returns:
            [N, num_ws, w_dim]. While the network is in ``train()`` its norms take the statistics of
            these N items.

        Raises:
            ValueError: for other shapes.
        """
        _check(self, w_plus, landmarks)
        check_square("LatentDifferenceEncoder", landmarks, self.config.resolution)
        return self.decoder(w_plus, self.features(self.trunk(landmarks)))


class KeypointEncoder(nnx.Module):
    """Codes and landmarks' coordinates to codes."""

    def __init__(self, config: KeypointConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.features = LandmarkFeatures(2 * NUM_LANDMARKS, config.landmark_features, rngs=rngs)
        self.decoder = DifferenceDecoder(config, rngs=rngs)

    def __call__(
        self, w_plus: Float[Array, "n l d"], points: Float[Array, "n 68 2"]
    ) -> Float[Array, "n l d"]:
        """Codes of the same portraits with other landmarks.

        Args:
            w_plus: [N, num_ws, w_dim].
            points: (x, y) in pixels of an image of ``config.resolution`` pixels a side, the first
                pixel's centre at (0.5, 0.5).

        Returns:
            [N, num_ws, w_dim]. While the network is in ``train()`` its norms take the statistics of
            these N items.

        Raises:
            ValueError: for other shapes.
        """
        _check(self, w_plus, points)
        if points.shape[1:] != (NUM_LANDMARKS, 2):
            raise ValueError(
                f"KeypointEncoder: expected points [N, {NUM_LANDMARKS}, 2], got "
                f"{list(points.shape)}"
            )
        # The code counts pixels from the first one's centre.
        scale, shift = (1.0, 0.5) if self.config.pixels else (2 / self.config.resolution, 1.0)
        points = points * scale - shift
        return self.decoder(w_plus, self.features(points.reshape(len(points), -1)))


class NaiveEncoder(nnx.Module):
    """Portraits and landmark images to codes, both read by one trunk."""

    def __init__(self, config: NaiveConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = ResidualTrunk(config, 6, rngs=rngs)
        self.head = StyleHead(
            config.flat_size, config.num_ws, config.w_dim, start=not config.normalised, rngs=rngs
        )

    def __call__(
        self, portraits: Float[Array, "n r r 3"], landmarks: Float[Array, "n r r 3"]
    ) -> Float[Array, "n l d"]:
        """Codes of portraits with other landmarks.

        Args:
            portraits: [N, resolution, resolution, 3] in [-1, 1].
            landmarks: landmark images, likewise.

        Returns:
            [N, num_ws, w_dim]. While the network is in ``train()`` its norms take the statistics of
            these N items.

        Raises:
            ValueError: for other shapes.
        """
        for images in (portraits, landmarks):
            check_square("NaiveEncoder", images, self.config.resolution)
        return self.head(self.trunk(jnp.concatenate([portraits, landmarks], axis=3)))


def _check(network: Any, w_plus: jax.Array, landmarks: jax.Array) -> None:
    name, config = type(network).__name__, network.config
    check_w_plus(name, w_plus, num_ws=config.num_ws, w_dim=config.w_dim)
    if len(w_plus) != len(landmarks):
        raise ValueError(
            f"{name}: expected landmarks for each code, got {len(landmarks)} for {len(w_plus)}"
        )
