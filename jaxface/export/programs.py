"""What can be exported of a suite: functions of named arrays, with the networks' arrays apart.

An exported program takes two dictionaries, ``weights`` and ``inputs``, and gives one. Their names
are those of the pytrees that they stand for: ``state.optimizer.0.mu`` is a leaf of the state of an
inversion. The first axis of every input is the batch, but for the ``given`` of an edit.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import SuiteError, UsageError, on_one_line
from jaxface.methods import encoder, pie
from jaxface.methods.inversion import Inverter
from jaxface.methods.motion_editing import apply_motion, edits_motion, motion_networks
from jaxface.methods.pie.editing import EditingNetworks, apply_edits, editing_networks
from jaxface.methods.suite_basis import suite_basis
from jaxface.morphable import EDITABLE_GROUPS
from jaxface.morphable.attributes import named_parameters
from jaxface.morphable.parameters import group_width
from jaxface.solving.solver import Stage, State, Status, initial_state, stage_keys, update
from jaxface.suite import Suite
from jaxface.vocabulary import Basis

What = Literal["synthesis", "encoder", "edit", "invert_step"]
Arrays = dict[str, jax.Array]
BATCH = "batch"
"""In a shape, the axis that is of any size."""


@dataclasses.dataclass(frozen=True)
class Exportable:
    """A function of named arrays.

    Attributes:
      name: of the program and its file.
      fn: (weights, inputs) -> results, traceable.
      weights: the networks' arrays by name.
      inputs: shapes, with `BATCH` for the size of the batch, and dtypes, by name.
      about: what it does, a sentence.
    """

    name: str
    fn: Callable[[Arrays, Arrays], Arrays]
    weights: Mapping[str, jax.Array]
    inputs: Mapping[str, tuple[tuple[int | str, ...], Any]]
    about: str


def exportables(
    suite: Suite, what: What, *, inverter: Inverter, groups: Sequence[str], feedback: int
) -> list[Exportable]:
    """The programs that `what` stands for.

    Args:
      suite: whose networks they are.
      what: "synthesis", "encoder", "edit" or "invert_step", which is several programs.
      inverter: of ``invert_step``.
      groups: of PIE's parameters that ``edit`` takes; with none all that the suite can edit.
      feedback: rounds of ``edit``.

    Raises:
      SuiteError: the suite lacks a network.
    """
    if what == "synthesis":
        return [_synthesis(suite)]
    if what == "encoder":
        return [_encoder(suite)]
    if what == "edit":
        return [_edit(suite, groups, feedback)]
    return _invert_step(suite, inverter)


def named(tree: Any, prefix: str = "") -> Arrays:
    """The leaves of a pytree by their names; one that is an array itself has the prefix alone."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        ".".join(filter(None, (prefix, jax.tree_util.keystr(path, simple=True, separator=".")))): x
        for path, x in leaves
    }


def _like(tree: Any, arrays: Mapping[str, Any], prefix: str = "") -> Any:
    """The pytree with the arrays of that prefix for its leaves."""
    leaves = [arrays[name] for name in named(tree, prefix)]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def _shapes(tree: Any, prefix: str = "") -> dict[str, tuple[tuple[int | str, ...], Any]]:
    """Of abstract leaves [1, ...], with any batch in the place of 1."""
    return {name: ((BATCH, *x.shape[1:]), x.dtype) for name, x in named(tree, prefix).items()}


def _images(suite: Suite) -> tuple[tuple[int | str, ...], Any]:
    size = suite.generator.resolution
    return (BATCH, size, size, 3), jnp.float32


def _codes(suite: Suite) -> tuple[tuple[int | str, ...], Any]:
    config = suite.generator.config
    return (BATCH, config.num_ws, config.w_dim), jnp.float32


def _synthesis(suite: Suite) -> Exportable:
    generator = suite.generator

    def synthesis(weights: Arrays, inputs: Arrays) -> Arrays:
        own = _like(generator, weights)
        return {"images": own.synthesis(inputs["w_plus"], noise="const")}

    about = "Latent codes of W+ to images, not clipped to [-1, 1]."
    return Exportable("synthesis", synthesis, named(generator), {"w_plus": _codes(suite)}, about)


def _encoder(suite: Suite) -> Exportable:
    settings = encoder.Settings("any")
    networks = settings.networks(suite, jax.random.key(0))

    def encode(weights: Arrays, inputs: Arrays) -> Arrays:
        return {"w_plus": encoder.encode(settings, _like(networks, weights), inputs["images"])}

    about = "Portraits in [-1, 1], aligned as the suite's are, to latent codes of W+."
    return Exportable("encoder", encode, named(networks), {"images": _images(suite)}, about)


def _edit(suite: Suite, groups: Sequence[str], feedback: int) -> Exportable:
    if edits_motion(suite) and not groups:
        return _motion_edit(suite, feedback)
    chosen = [group for group in EDITABLE_GROUPS if group in groups or not groups]
    if not groups:
        chosen = [group for group in chosen if f"rignet_{group}" in suite.files]
    if not chosen:
        raise SuiteError(f"suite {suite.name!r} has no rignet_<group>, and an edit needs one")
    # The generator and the reader are in the file once.
    rignets = {group: editing_networks(suite, group).rignet for group in chosen}
    networks = {"generator": suite.generator, "reconstruction": suite.reconstruction, **rignets}
    inputs: dict[str, Any] = {"w_plus": _codes(suite)}
    for group in chosen:
        inputs[group] = ((BATCH, group_width(group)), jnp.float32)
        inputs[f"{group}.given"] = ((group_width(group),), jnp.bool_)

    def edit(weights: Arrays, inputs: Arrays) -> Arrays:
        targets = {group: _target(inputs, group) for group in chosen}
        own = _like(networks, weights)
        shared = (own["generator"], own["reconstruction"])
        edits = apply_edits(
            {group: EditingNetworks(*shared, own[group]) for group in chosen},
            inputs["w_plus"],
            targets,
            feedback=feedback,
            noise="const",
        )
        last = edits[chosen[-1]]
        return {"w_plus": last.w_plus, "images": last.images}

    about = (
        "PIE's edit: parameters of a group replace the portrait's own where given; angles in "
        "radians. Groups are edited one after the other. " + _places(chosen, suite_basis(suite))
    )
    return Exportable("edit", edit, named(networks), inputs, about)


def _places(groups: Sequence[str], basis: Basis) -> str:
    """Where the parameters that have names are: "pose: pitch 0, yaw 1"."""
    told = []
    for group in groups:
        places = [
            f"{name} {'+'.join(map(str, each.places))}"
            for name, each in named_parameters(basis).items()
            if each.group == group
        ]
        if places:
            told.append(f"{group}: " + ", ".join(places))
    return "; ".join(told)


def _motion_edit(suite: Suite, feedback: int) -> Exportable:
    networks = motion_networks(suite)
    names = networks.directions.names
    inputs = {
        "w_plus": _codes(suite),
        "motion": ((BATCH, len(names)), jnp.float32),
        "motion.given": ((len(names),), jnp.bool_),
    }

    def edit(weights: Arrays, inputs: Arrays) -> Arrays:
        edited = apply_motion(
            _like(networks, weights),
            inputs["w_plus"],
            _target(inputs, "motion"),
            feedback=feedback,
            noise="const",
        )
        return {"w_plus": edited.w_plus, "images": edited.images}

    about = f"Edit of the motion, in this order: {', '.join(names)}; angles in degrees."
    return Exportable("edit", edit, named(networks), inputs, about)


def _target(inputs: Arrays, name: str) -> pie.Target:
    return pie.Target(inputs[name], inputs[f"{name}.given"], jnp.zeros(()))


def _invert_step(suite: Suite, inverter: Inverter) -> list[Exportable]:
    """Begin, then for each stage its start and its step, then finish."""
    networks = inverter.networks(suite, jax.random.key(0))
    procedure = inverter.procedure(suite.generator.config)
    if not procedure.stages:
        raise SuiteError("the method takes no steps; export the encoder instead")
    weights, images = named(networks), {"images": _images(suite)}
    one = jax.ShapeDtypeStruct((1, *_images(suite)[0][1:]), jnp.float32)
    targets = jax.eval_shape(procedure.targets, networks, one)
    variables = jax.eval_shape(procedure.start, networks, one)
    keys = {"keys": ((BATCH, 2), jnp.uint32)}

    def begin(weights: Arrays, inputs: Arrays) -> Arrays:
        own = _like(networks, weights)
        return named(procedure.targets(own, inputs["images"]), "targets") | named(
            procedure.start(own, inputs["images"]), "variables"
        )

    about = "Portraits in [-1, 1] to what the energy compares with and the first variables."
    found = [Exportable("begin", begin, weights, images, about)]
    for number, stage in enumerate(procedure.stages):
        state = jax.eval_shape(functools.partial(_first, stage), networks, variables)
        found += [
            Exportable(
                f"start_{stage.name}",
                _start_of(stage, networks, variables),
                weights,
                _shapes(variables, "variables"),
                f"The state of stage {stage.name!r} before its first step.",
            ),
            Exportable(
                f"step_{stage.name}",
                _step_of(stage, number, networks, state, targets),
                weights,
                _shapes(state, "state") | _shapes(targets, "targets") | keys,
                f"A step of stage {stage.name!r}, which has {stage.steps}; further ones change "
                "nothing.",
            ),
        ]
        variables = state.variables
    last = variables

    def finish(weights: Arrays, inputs: Arrays) -> Arrays:
        inverted = procedure.finish(
            _like(networks, weights),
            _like(targets, inputs, "targets"),
            _like(last, inputs, "variables"),
            jax.random.wrap_key_data(inputs["keys"]),
        )
        tuned = {} if inverted.weights is None else named(inverted.weights, "weights")
        losses = named(dict(inverted.losses), "losses")
        return {"w_plus": inverted.w_plus, "images": inverted.images} | losses | tuned

    about = "The last variables (state.variables of the last step) to codes, images and losses."
    wanted = _shapes(targets, "targets") | _shapes(last, "variables") | keys
    return [*found, Exportable("finish", finish, weights, wanted, about)]


def _first(stage: Stage, networks: Any, variables: Any) -> State:
    rows = jax.tree.leaves(variables)[0].shape[0]
    status = jnp.full((rows,), int(Status.RUNNING), jnp.int32)
    steps, scale = jnp.zeros((rows,), jnp.int32), jnp.ones((rows,), jnp.float32)
    return initial_state(stage, networks, variables, status, steps, scale)


def _start_of(stage: Stage, networks: Any, variables: Any) -> Any:
    def start(weights: Arrays, inputs: Arrays) -> Arrays:
        before = _like(variables, inputs, "variables")
        return named(_first(stage, _like(networks, weights), before), "state")

    return start


def _step_of(stage: Stage, number: int, networks: Any, state: Any, targets: Any) -> Any:
    def step(weights: Arrays, inputs: Arrays) -> Arrays:
        keys = stage_keys(jax.random.wrap_key_data(inputs["keys"]), number)
        constants = (_like(networks, weights), _like(targets, inputs, "targets"), keys)
        after, measures = update(stage, _like(state, inputs, "state"), constants)
        return named(after, "state") | named(measures, "measures")

    return step


def described(program: Exportable) -> dict[str, Any]:
    """What a program takes, for the file beside it."""
    return {
        "about": program.about,
        "inputs": {
            name: {"shape": list(shape), "dtype": np.dtype(dtype).name}
            for name, (shape, dtype) in program.inputs.items()
        },
    }


def result_shapes(results: Mapping[str, Any]) -> dict[str, Any]:
    """What a program gives, by name, as `described` has what it takes."""
    return {
        name: {"shape": [_side(each) for each in x.shape], "dtype": np.dtype(x.dtype).name}
        for name, x in results.items()
    }


def _side(side: Any) -> int | str:
    return side if isinstance(side, int) else str(side)


def arguments(program: Exportable, rows: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The inputs' shapes with so many rows, or a symbol for any number of them."""
    return {
        name: jax.ShapeDtypeStruct(tuple(rows if side == BATCH else side for side in shape), dtype)
        for name, (shape, dtype) in program.inputs.items()
    }


def not_lowered(program: Exportable, batch: int | None, to: str, error: Exception) -> UsageError:
    """That a program cannot be exported, and why."""
    reason = on_one_line(str(error))
    hint = "" if batch is not None else "; --batch-size N exports it for batches of N"
    return UsageError(f"{program.name} cannot be exported to {to} ({reason}){hint}")
