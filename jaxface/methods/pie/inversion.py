"""PIE's hierarchical optimisation (section 4.4): in W from its mean, then in W+ from there."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxface.losses.perceptual import downsample
from jaxface.methods import encoder
from jaxface.methods.inversion import Inversion, Inverted, check_images, compiled, run
from jaxface.methods.pie.energy import Targets, energy, evaluate, to_w_plus
from jaxface.methods.pie.networks import Bank, Networks, networks_of, phi, psi
from jaxface.methods.pie.sampling import estimate
from jaxface.methods.pie.settings import Settings
from jaxface.morphable.models import FaceModels
from jaxface.solving.procedure import Procedure
from jaxface.solving.solver import Progress, Stage
from jaxface.suite import Suite


def invert(
    suite: Suite,
    images: jax.Array | np.ndarray,
    *,
    keys: jax.Array,
    settings: Settings,
    models: FaceModels | None = None,
    bank: Bank | None = None,
    mask: np.ndarray | None = None,
    mesh: Mesh | None = None,
    chunk: int = 50,
    progress: Callable[[Progress], None] | None = None,
) -> Inversion:
    """Embeds a batch of portraits.

    A portrait's result does not depend on the others of its batch. Batches of one shape compile
    once; pad the last one and mask the padding out.

    Args:
      suite: has the networks that the settings' terms need.
      images: I, [N, R, R, 3] in [-1, 1] with R the generator's resolution.
      keys: [N] typed keys, see `jaxface.keys.item_keys`.
      settings: see `jaxface.methods.presets`.
      models: of the face that the suite reads; None: the embedded world's.
      bank: what `draw_bank` made for these settings; None if they ask for none.
      mask: [N] bool, False for rows that only pad the batch.
      mesh: devices with an axis "data" to split the rows over; N must be a multiple of it.
      chunk: iterations between two calls of `progress`; no influence on results.
      progress: called after each chunk.

    Raises:
      ValueError: wrong shapes, or no bank of the size that the settings give.
      SuiteError: the suite lacks a network that a term needs.
    """
    config = suite.generator.config
    check_images(images, config)
    networks = networks_of(suite, settings, models=models, bank=bank)
    program = compiled(settings, config, mesh=mesh, chunk=chunk)
    return run(program, networks, images, keys, mask=mask, progress=progress)


def stages(settings: Settings, num_ws: int) -> tuple[Stage, ...]:
    """The hierarchical schedule of section 4.4: W, then W+ from where W ended."""

    def stage(
        name: str, steps: int, step_size: float, start: Callable, resolution: int | None = None
    ) -> Stage:
        schedule = optax.exponential_decay(step_size, settings.decay_steps, settings.decay_rate)
        return Stage(
            name=name,
            energy=functools.partial(energy, settings, num_ws, resolution),
            optimizer=settings.optimizer.transformation(schedule),
            steps=steps,
            start=start,
            stop_below=settings.stop_below,
        )

    def from_w(networks: Networks, w: jax.Array) -> jax.Array:
        del networks
        return to_w_plus(w, num_ws)

    found = []
    if settings.w_steps:
        resolution = settings.w_resolution
        found.append(stage("w", settings.w_steps, settings.w_step_size, lambda _, w: w, resolution))
    if settings.w_plus_steps:
        found.append(stage("w_plus", settings.w_plus_steps, settings.w_plus_step_size, from_w))
    return tuple(found)


def procedure(settings: Settings, num_ws: int) -> Procedure:
    """From portraits I [N, R, R, 3] to `Inverted`, as section 4.4 describes it.

    The losses are {"loss": the energy, and its terms without their weights as `energy` names them},
    of I_w with the stored noise maps (none if the settings say so). Expectations are over one v of
    the portrait's own, another than the steps'.
    """
    return Procedure(
        start=functools.partial(_start, settings),
        targets=functools.partial(read_targets, settings),
        stages=stages(settings, num_ws),
        finish=functools.partial(_finish, settings, num_ws),
    )


def _start(settings: Settings, networks: Networks, images: jax.Array) -> jax.Array:
    """W's mean for each portrait, [N, w_dim] (section 4.4), or an encoder's codes in W+."""
    if settings.start == "encoder":
        return encoder.encode(encoder.Settings(dtype=settings.dtype), networks, images)
    w_mean = networks.generator.w_mean
    return jnp.broadcast_to(w_mean, (images.shape[0], *w_mean.shape))


def read_targets(settings: Settings, networks: Networks, images: jax.Array) -> Targets:
    """What the energy knows of portraits I [N, R, R, 3] from the start."""
    coarse = None
    if settings.w_resolution is not None:
        small = downsample(images, settings.w_resolution)
        features = None if networks.perceptual is None else phi(settings, networks, small)
        coarse = Targets(images=small, features=features)
    return Targets(
        images=images,
        features=None if networks.perceptual is None else phi(settings, networks, images),
        reading=estimate(settings, networks, images) if "invariance" in settings.terms else None,
        embedding=None if networks.recognition is None else psi(settings, networks, images),
        coarse=coarse,
    )


def _finish(
    settings: Settings,
    num_ws: int,
    networks: Networks,
    targets: Targets,
    w: jax.Array,
    keys: jax.Array,
) -> Inverted:
    w_plus = to_w_plus(w, num_ws)
    noise = "none" if settings.noise == "none" else "const"
    loss, terms, images = evaluate(settings, w_plus, networks, targets, keys, noise)
    return Inverted(w_plus, images, {"loss": loss, **terms})
