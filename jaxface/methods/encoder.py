"""Inversion by an encoder, in one pass (pSp, e4e, W encoders) or a few (ReStyle).

What the encoder gives is the result, or where an optimisation starts: PIE's with
``start="encoder"``, PTI's pivot.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxface.errors import SuiteError
from jaxface.latents import truncate
from jaxface.methods import restyle
from jaxface.methods.inversion import ComputesIn, Inverted, generator_in
from jaxface.nets import (
    E4EEncoder,
    Generator,
    GeneratorConfig,
    InDomainEncoder,
    PSPEncoder,
    RestyleE4EEncoder,
    RestylePSPEncoder,
    WEncoder,
)
from jaxface.nets.encoders.restyle import RestyleEncoder
from jaxface.nets.mobile_stylegan import as_rows_of
from jaxface.runtime.devices import Dtype
from jaxface.settings import check_words
from jaxface.solving.procedure import Procedure
from jaxface.suite import Suite

Kind = Literal["any", "psp", "e4e", "w", "restyle", "in_domain"]

CLASSES: dict[Kind, tuple[type, ...]] = {
    "any": (PSPEncoder, E4EEncoder, WEncoder, RestylePSPEncoder, RestyleE4EEncoder),
    "psp": (PSPEncoder,),
    "e4e": (E4EEncoder,),
    "w": (WEncoder,),
    "restyle": (RestylePSPEncoder, RestyleE4EEncoder),
    "in_domain": (InDomainEncoder,),
}


class Networks(NamedTuple):
    """What an inversion needs of a suite."""

    generator: Generator
    encoder: Any


class Targets(NamedTuple):
    """What is known of N portraits."""

    images: jax.Array


@dataclasses.dataclass(frozen=True)
class Settings(ComputesIn):
    """How an encoder inverts; an `jaxface.methods.inversion.Inverter`.

    Attributes:
      encoder: what the suite's encoder must be; "any": whatever it is; "in_domain": the suite's
        second encoder, of the role ``in_domain_encoder``.
      iterations: of ReStyle's refinement, >= 1; of no effect on other encoders.
      truncation: psi of the codes, for encoders that were trained before a truncated generator, as
        Finding Directions' are; 1: they are what the encoder gives.
      dtype: what encoder and generator compute in; latents are float32.
    """

    encoder: Kind = "any"
    iterations: int = restyle.ITERATIONS
    truncation: float = 1.0
    dtype: Dtype = "float32"

    row_losses = ()
    tunes_generator = False

    def __post_init__(self):
        check_words(self)
        if self.iterations < 1:
            raise ValueError(f"Settings: iterations must be >= 1, got {self.iterations}.")

    def roles(self) -> Mapping[str, str]:
        """See `Inverter`."""
        return dict.fromkeys(("generator", self.role), "Inversion by an encoder needs it")

    @property
    def role(self) -> str:
        """Whose network encodes."""
        return role_of_kind(self.encoder)

    def networks(self, suite: Suite, key: jax.Array) -> Networks:
        """See `Inverter`; nothing is sampled."""
        del key
        return Networks(generator_in(suite, self.dtype), encoder_of(suite, self.encoder))

    def procedure(self, config: GeneratorConfig) -> Procedure:
        """See `Inverter`; without stages."""
        del config
        return Procedure(
            start=functools.partial(encode, self),
            targets=lambda networks, images: Targets(images),
            stages=(),
            finish=_finish,
        )


def role_of_kind(kind: Kind) -> str:
    """The role of a suite that an encoder of this kind plays."""
    return "in_domain_encoder" if kind == "in_domain" else "encoder"


def encoder_of(suite: Suite, kind: Kind) -> Any:
    """The suite's encoder.

    Raises:
      SuiteError: it has none, or one of another kind.
    """
    encoder = suite.network(role_of_kind(kind))
    if not isinstance(encoder, CLASSES[kind]):
        wanted = " or ".join(each.__name__ for each in CLASSES[kind])
        raise SuiteError(
            f"suite {suite.name!r}: expected a {wanted} as encoder, got a {type(encoder).__name__}"
        )
    return encoder


def encode(settings: Settings, networks: Any, images: jax.Array) -> jax.Array:
    """The codes of portraits [N, R, R, 3]: [N, L, w_dim], in the generator's own rows.

    Args:
      settings: how often, and in what.
      networks: have a generator and an encoder, as `Networks` and PIE's.
      images: in [-1, 1].
    """
    images = images.astype(settings.dtype)
    if isinstance(networks.encoder, RestyleEncoder):
        codes = restyle.invert(
            networks.encoder, networks.generator, images, iterations=settings.iterations
        ).w_plus
    else:
        codes = networks.encoder(images)
    w_plus = as_rows_of(networks.generator.config, codes.astype(jnp.float32))
    if settings.truncation == 1.0:
        return w_plus
    return truncate(w_plus, networks.generator.w_mean, settings.truncation)


def _finish(networks: Networks, targets: Any, w_plus: jax.Array, keys: jax.Array) -> Inverted:
    del targets, keys
    return Inverted(w_plus, networks.generator.synthesis(w_plus, noise="const"), {})


E4E = Settings("e4e")
PSP = Settings("psp")
W = Settings("w")
IN_DOMAIN = Settings("in_domain")
RESTYLE = Settings("restyle")
"""ReStyle over pSp or e4e, with the authors' five iterations."""
