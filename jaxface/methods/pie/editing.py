"""Edits of embedded portraits (PIE, section 3.1 and equation 5; StyleRig).

One semantic group of the face parameters theta is given new values and the group's RigNet moves the
latent, w' = RigNet(w, theta'). What the image of w' shows is read back by the reconstruction
network, and a feedback step corrects what was asked for by what was missed:

    theta_new = theta' + (theta' - theta_est)

with theta' what is wanted and theta_est what the first edit gave; w' = RigNet(w, theta_new) is the
edit. Every edit starts from the embedding, so that nothing accumulates.

What is chosen here: a round of feedback may be repeated, each correcting the one before. Several
groups are edited in the order of `EDITABLE_GROUPS`, each from the latent that the one before gave
(`edit_groups`), or all at once (`edit_together`), which PIE leaves open as its second limitation
(section 7): the changes that the RigNets make of one latent are added up,

    w' = w + sum_tau (RigNet_tau(w, theta^tau) - w)

and a round of feedback reads all groups of one image, so that it also takes back what the edit of
one group did to another that was asked for.

Linear directions, InterFaceGAN's boundaries and GANSpace's components, move the same latents:
`jaxface.methods.linear_directions.edit_along`.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxface.errors import SuiteError
from jaxface.latents import check_w_plus
from jaxface.morphable import EDITABLE_GROUPS, SEMANTIC_GROUPS, FaceParameters, group_width
from jaxface.morphable.attributes import named_parameter
from jaxface.morphable.parameters import WIDTHS, split_flat
from jaxface.nets import Generator, RigNet
from jaxface.suite import Suite
from jaxface.vocabulary import Basis

Noise = Literal["const", "none"]


class EditingNetworks(NamedTuple):
    """What an edit of one semantic group needs of a suite.

    Attributes:
      generator: w_plus to I_w.
      reconstruction: images to theta, [N, 257].
      rignet: of the group.
    """

    generator: Generator
    reconstruction: Any
    rignet: RigNet


@struct.dataclass
class Target:
    """What a semantic group's P parameters are to become, see `FaceParameters.group`.

    Attributes:
      values: [N, P], or [1, P] for all portraits.
      given: [P] bool, where `values` counts; the other parameters keep the portrait's own value.
      relative: 1 where `values` is added to the portrait's own parameters, else 0.
    """

    values: jax.Array
    given: jax.Array
    relative: jax.Array

    @classmethod
    def absolute(cls, group: str, face: FaceParameters) -> "Target":
        """The group as in N faces, or in one for all portraits."""
        return cls.of_values(face.group(group))

    @classmethod
    def of_values(cls, values: jax.Array) -> "Target":
        """A group's parameters themselves, [N, P], or [1, P] for all portraits."""
        return cls(values, jnp.ones(values.shape[-1], bool), jnp.zeros(()))

    @classmethod
    def difference(cls, group: str, change: FaceParameters) -> "Target":
        """The group's values in `change` are added to what the portraits have."""
        return cls(change.group(group), jnp.ones(group_width(group), bool), jnp.ones(()))

    @classmethod
    def named(
        cls,
        values: Mapping[str, float | Sequence[float]],
        *,
        basis: Basis = "embedded",
        relative: bool = False,
    ) -> "dict[str, Target]":
        """Single parameters by name, for all portraits: the targets of the groups they are in.

        Args:
          values: by the names of `jaxface.morphable.attributes.named_parameters`, angles in
            radians, expressions in coefficients: one for all that a name stands for, or one each.
          basis: of the face model that the parameters are of.
          relative: the values are added to what the portraits have.

        Raises:
          ValueError: a name is unknown.
        """
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, value in values.items():
            group, places = named_parameter(name, basis)
            empty = (np.zeros(group_width(group), np.float32), np.zeros(group_width(group), bool))
            wanted, given = found.setdefault(group, empty)
            wanted[list(places)], given[list(places)] = value, True
        return {
            group: cls(
                jnp.asarray(wanted)[None],
                jnp.asarray(given),
                jnp.asarray(float(relative)),
            )
            for group, (wanted, given) in found.items()
        }

    def of(self, before: jax.Array) -> jax.Array:
        """What portraits with these parameters, [N, P], are to have: [N, P]."""
        return jnp.where(self.given, self.values + self.relative * before, before)


@struct.dataclass
class Edit:
    """Edited portraits.

    Attributes:
      w_plus: [N, L, w_dim].
      images: [N, R, R, 3], as the generator gives them, not clipped to [-1, 1].
      wanted: the parameters that were asked for: those before, with the target's group, if there
        was one.
      unedited: [N, R, R, 3], of the latents that were edited.
      before: the parameters of the portraits that were edited, by the reconstruction network.
      after: the parameters of `images`, by the same.
    """

    w_plus: jax.Array
    images: jax.Array
    wanted: FaceParameters
    unedited: jax.Array
    before: FaceParameters
    after: FaceParameters


def edit(
    suite: Suite,
    w_plus: jax.Array | np.ndarray,
    group: str,
    target: Target | FaceParameters | jax.Array | np.ndarray,
    *,
    feedback: int = 1,
    noise: Noise = "const",
) -> Edit:
    """Gives embedded portraits another pose, expression or light.

    Compiles once for each group, batch size and number of feedback rounds. A portrait's edit does
    not depend on the others of its batch.

    Args:
      suite: has a generator, a reconstruction network and the group's RigNet.
      w_plus: [N, L, w_dim].
      group: "pose", "expression" or "illumination".
      target: absolute parameters of N faces or one; a `Target`, for a difference or for single
        parameters; or reference portraits [N or 1, R', R', 3] in [-1, 1], whose group is taken over
        through the reconstruction network.
      feedback: rounds of feedback; the paper's is one, 0 is none.
      noise: "const": the generator's stored maps; "none".

    Raises:
      ValueError: wrong shapes, an unknown group, or a target of another group.
      SuiteError: the suite lacks a network.
    """
    generator = suite.generator
    check_w_plus("edit", w_plus, num_ws=generator.num_ws, w_dim=generator.config.w_dim)
    if group not in EDITABLE_GROUPS:
        raise ValueError(f"edit: group must be one of {', '.join(EDITABLE_GROUPS)}; got {group!r}.")
    if feedback < 0:
        raise ValueError(f"edit: feedback must be >= 0, got {feedback}.")
    return edit_together(suite, w_plus, {group: target}, feedback=feedback, noise=noise)


def edit_together(
    suite: Suite,
    w_plus: jax.Array | np.ndarray,
    targets: Mapping[str, Target | FaceParameters | jax.Array | np.ndarray],
    *,
    feedback: int = 1,
    noise: Noise = "const",
) -> Edit:
    """Edits of several groups in one step; see the module, and `edit`.

    Args:
      targets: by group.

    Raises:
      ValueError: as `edit`, or there is no target.
    """
    _check_groups("edit_together", targets)
    generator = suite.generator
    check_w_plus("edit", w_plus, num_ws=generator.num_ws, w_dim=generator.config.w_dim)
    if feedback < 0:
        raise ValueError(f"edit: feedback must be >= 0, got {feedback}.")
    wanted = {group: as_target(suite, group, target) for group, target in targets.items()}
    for group, target in wanted.items():
        if target.values.shape not in ((len(w_plus), group_width(group)), (1, group_width(group))):
            raise ValueError(
                f"edit: the target of {group} must be [{len(w_plus)} or 1, {group_width(group)}], "
                f"got {list(target.values.shape)}."
            )
    networks = {group: editing_networks(suite, group) for group in wanted}
    w_plus = jnp.asarray(w_plus, jnp.float32)
    return apply_together(networks, w_plus, wanted, feedback=feedback, noise=noise)


def edit_groups(
    suite: Suite,
    w_plus: jax.Array | np.ndarray,
    targets: Mapping[str, Target | FaceParameters | jax.Array | np.ndarray],
    *,
    feedback: int = 1,
    noise: Noise = "const",
) -> dict[str, Edit]:
    """Edits of several groups one after another, in the order of `EDITABLE_GROUPS`; see `edit`.

    Args:
      targets: by group.

    Returns:
      The edits by group; the last one holds the result of all.

    Raises:
      ValueError: as `edit`, or there is no target.
    """
    _check_groups("edit_groups", targets)
    edits = {}
    for group in EDITABLE_GROUPS:
        if group in targets:
            edits[group] = edit(
                suite, w_plus, group, targets[group], feedback=feedback, noise=noise
            )
            w_plus = edits[group].w_plus
    return edits


def apply_edits(
    networks: Mapping[str, EditingNetworks],
    w_plus: jax.Array,
    targets: Mapping[str, Target],
    *,
    feedback: int,
    noise: Noise,
) -> dict[str, Edit]:
    """`edit_groups` with networks and targets at hand; traceable.

    Args:
      networks: by group.
      w_plus: [N, L, w_dim].
      targets: by group; at least one.
      feedback: rounds.
      noise: see `edit`.
    """
    edits = {}
    for group in EDITABLE_GROUPS:
        if group in targets:
            one = {group: targets[group]}
            edits[group] = apply_together(networks, w_plus, one, feedback=feedback, noise=noise)
            w_plus = edits[group].w_plus
    return edits


def editing_networks(suite: Suite, group: str) -> EditingNetworks:
    """What the edit of a group needs of a suite.

    Raises:
      SuiteError: the suite lacks a network.
    """
    return EditingNetworks(suite.generator, suite.reconstruction, rignet_of(suite, group))


def as_target(
    suite: Suite, group: str, target: Target | FaceParameters | jax.Array | np.ndarray
) -> Target:
    """The target that `edit` makes of its argument.

    Raises:
      ValueError: a reference is no batch of square RGB images.
    """
    if isinstance(target, Target):
        return target
    if isinstance(target, FaceParameters):
        return Target.absolute(group, target)
    if target.ndim != 4 or target.shape[-1] != 3:
        raise ValueError(f"edit: references must be [N, R, R, 3], got {list(target.shape)}.")
    return Target.absolute(group, read_parameters(suite, target))


def read_parameters(suite: Suite, images: jax.Array | np.ndarray) -> FaceParameters:
    """The parameters of portraits [N, R, R, 3] in [-1, 1], by the reconstruction network."""
    return _read(suite.reconstruction, jnp.asarray(images))


def rignet_of(suite: Suite, group: str) -> RigNet:
    """The suite's RigNet of a group.

    Raises:
      SuiteError: it has none.
    """
    rignets = suite.rignets
    if group not in rignets:
        raise SuiteError(
            f"suite {suite.name!r} has no RigNet of {group}; it has those of "
            f"{', '.join(rignets)}. Add rignet_{group}.safetensors to its folder"
        )
    return rignets[group]


@functools.partial(jax.jit, static_argnames=("feedback", "noise"))
def apply_together(
    networks: Mapping[str, EditingNetworks],
    w_plus: jax.Array,
    targets: Mapping[str, Target],
    *,
    feedback: int,
    noise: Noise,
    active: Mapping[str, jax.Array] | None = None,
    before: FaceParameters | None = None,
) -> Edit:
    """`edit_together` with networks and targets at hand; traceable.

    Args:
      networks: by group, of one generator and one reconstruction network.
      w_plus: [N, L, w_dim].
      targets: by group; at least one.
      feedback: rounds.
      noise: see `edit`.
      active: by group, a bool: False leaves a group out, as if it had no target, in a program that
        serves any choice of them. None: all count.
      before: the parameters of the portraits, where they are known; None: they are read.
    """
    groups = [group for group in EDITABLE_GROUPS if group in targets]
    generator, reconstruction, _ = networks[groups[0]]
    unedited = generator.synthesis(w_plus, noise=noise)
    before = _read(reconstruction, unedited) if before is None else before
    wanted = {group: targets[group].of(before.group(group)) for group in groups}

    def moved(asked: Mapping[str, jax.Array]) -> jax.Array:
        edited = w_plus
        for group in groups:
            own = networks[group].rignet(w_plus, asked[group])
            if active is not None:
                own = jnp.where(active[group], own, w_plus)
            edited = own if edited is w_plus else edited + (own - w_plus)
        return edited

    def attempt(asked: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array, FaceParameters]:
        edited = moved(asked)
        images = generator.synthesis(edited, noise=noise)
        return edited, images, _read(reconstruction, images)

    asked = wanted
    edited, images, after = attempt(asked)
    for _ in range(feedback):
        asked = {group: asked[group] + (wanted[group] - after.group(group)) for group in groups}
        edited, images, after = attempt(asked)
    asked_for = before
    for group in groups:
        widths = {name: WIDTHS[name] for name in SEMANTIC_GROUPS[group]}
        asked_for = dataclasses.replace(asked_for, **split_flat("edit", wanted[group], widths))
    return Edit(edited, images, asked_for, unedited, before, after)


def _check_groups(owner: str, targets: Mapping[str, Any]) -> None:
    if not targets or set(targets) - set(EDITABLE_GROUPS):
        raise ValueError(
            f"{owner}: expected targets of {', '.join(EDITABLE_GROUPS)}; got "
            f"{', '.join(targets) or 'none'}."
        )


@jax.jit
def _read(reconstruction: Any, images: jax.Array) -> FaceParameters:
    return FaceParameters.from_flat(reconstruction(images))
