"""Reenactment by Transfer: the identity is encoded once, each driving frame is one pass.

Also random identities (section 4.2 of the paper): what the generator draws of a sampled latent is
inverted like a portrait, since M has only seen codes that the identity encoder gives; the latent
itself in place of the code gives artefacts.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxface.methods import encoder
from jaxface.methods.reenactment import Driving, Moved, Subject
from jaxface.methods.transfer.drawing import draw
from jaxface.morphable import FaceParameters
from jaxface.morphable.motion import motion_of_pie
from jaxface.nets import Generator, TransferNetwork
from jaxface.suite import Suite


@dataclasses.dataclass(frozen=True)
class TransferReenactment:
    """Settings, and the `jaxface.methods.reenactment.ImageReenactor` that they are.

    Attributes:
      identity: how E_i encodes the target: the suite's encoder, ReStyle with five iterations in the
        paper.
      truncation: of random identities, psi; 1 for none.
      random_code: what M gets of a random identity: "inverted", the code of its image, as in the
        paper; "sampled", its own latent, to see what that does.
    """

    identity: encoder.Settings = dataclasses.field(default_factory=encoder.Settings)
    truncation: float = 1.0
    random_code: Literal["inverted", "sampled"] = "inverted"

    def __post_init__(self):
        if self.random_code not in ("inverted", "sampled"):
            raise ValueError(
                "TransferReenactment: random_code must be 'inverted' or 'sampled', got "
                f"{self.random_code!r}."
            )

    @property
    def requires(self) -> tuple[str, ...]:
        """Images alone."""
        return ("image",)

    @property
    def inversion(self) -> encoder.Settings:
        """`identity`: M has seen no other codes."""
        return self.identity

    def roles(self) -> dict[str, str]:
        """Generator, identity encoder, and the trained networks."""
        return {**self.identity.roles(), **self.driving_roles()}

    def driving_roles(self) -> dict[str, str]:
        """Generator and the trained networks."""
        return {"generator": "It draws", "transfer": "Reenactment by Transfer needs it"}

    def networks(self, suite: Suite) -> TransferNetwork:
        """See `jaxface.methods.reenactment.ImageReenactor`."""
        return suite.transfer

    def read(self, networks: TransferNetwork, images: Any) -> jax.Array:
        """Motion codes E_m(s) of driving frames, [N, L, w_dim]; see `ImageReenactor.read`."""
        return networks.motion(images)

    def draw(self, generator: Generator, w_plus: Any, *, noise: Literal["const", "none"]) -> Any:
        """See `ImageReenactor.draw`."""
        return generator.synthesis(w_plus, noise)

    def move(
        self,
        networks: TransferNetwork,
        generator: Generator,
        w_plus: Any,
        codes: Any,
        *,
        noise: Literal["const", "none"],
    ) -> Moved:
        """See `ImageReenactor.move`."""
        moved = networks.mix(w_plus, codes)
        return Moved(moved, generator.synthesis(moved, noise))

    def adapt(self, suite: Suite, frames: Any, *, keys: jax.Array) -> Subject:
        """The subject of one frame: its code.

        Args:
          suite: has the networks of `roles`.
          frames: [1, R, R, 3] in [-1, 1], aligned as FFHQ's.
          keys: [1] typed keys; nothing is sampled.

        Raises:
          ValueError: more than one frame.
        """
        if len(frames) != 1:
            raise ValueError(
                f"TransferReenactment: a subject is one frame, got {len(frames)}; choose one."
            )
        networks = self.identity.networks(suite, keys[0])
        return self.subject(suite, _encode(self.identity, networks, jnp.asarray(frames)))

    def subject(self, suite: Suite, w_plus: Any) -> Subject:
        """The subject of a code that there is already, E_i(t) [1, L, w_dim].

        It has no motion of its own, which the method does not read: that of a frontal neutral face
        stands in its place.
        """
        still = motion_of_pie(FaceParameters.from_flat(jnp.zeros((1, 257), jnp.float32)))
        return Subject(suite, jnp.asarray(w_plus, jnp.float32), still, suite.generator)

    def random_portrait(self, suite: Suite, *, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The latent [1, L, w_dim] and the portrait [1, R, R, 3] of a person who does not exist.

        Args:
          suite: has a generator.
          key: typed key of the sample.
        """
        generator = suite.generator
        z = jax.random.normal(key, (1, generator.config.z_dim))
        return _sample(generator, z, self.truncation)

    def random_subject(self, suite: Suite, *, key: jax.Array) -> Subject:
        """A person who does not exist.

        Args:
          suite: has the networks of `roles`.
          key: typed key of the sample.
        """
        w_plus, image = self.random_portrait(suite, key=key)
        if self.random_code == "sampled":
            return self.subject(suite, w_plus)
        return self.adapt(suite, image, keys=key[None])

    def drive(self, subject: Subject, driving: Driving) -> jax.Array:
        """See `jaxface.methods.reenactment.Reenactor.drive`.

        Raises:
          ValueError: the frames are no images.
        """
        driving.check("TransferReenactment", self.requires)
        network = subject.suite.transfer
        return draw(network, subject.generator, subject.w_plus, jnp.asarray(driving.images))


_encode = jax.jit(encoder.encode, static_argnums=0)


@functools.partial(jax.jit, static_argnums=2)
def _sample(generator: Any, z: jax.Array, truncation: float) -> tuple[jax.Array, jax.Array]:
    w_plus = generator.mapping(z, truncation=truncation)
    return w_plus, jnp.clip(generator.synthesis(w_plus, "const"), -1, 1)
