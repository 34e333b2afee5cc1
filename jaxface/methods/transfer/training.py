"""Training of Transfer's motion encoder and mapper, and of the generator in its variant "Gen".

Batches are pairs of frames of two persons with the codes of their targets
(`jaxface.data.transfer_pairs`). Batch normalisation of E_m works by the statistics of each batch of
frames that it reads, and its running statistics follow; scores and results use these. Ranger's fast
weights are the ones that are used, as in the authors' code.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from jaxface.errors import UsageError
from jaxface.methods.transfer.losses import Batch, Frozen, transfer_losses
from jaxface.methods.transfer.scores import Judges, merit, validation
from jaxface.methods.transfer.settings import TransferSettings
from jaxface.nets import LPIPS, Generator, TransferNetwork
from jaxface.nets.stylegan2.generator import with_synthesis
from jaxface.training.beginning import needed_network, network_to_begin_with
from jaxface.training.loop import Phase
from jaxface.training.microbatches import mean_gradients
from jaxface.training.ranger import ranger
from jaxface.training.recipe import Recipe, Stage


@struct.dataclass
class TransferState:
    """Everything that training changes."""

    network: TransferNetwork
    generator: Generator | None
    """None where it is frozen."""
    optimizer: Any


@struct.dataclass
class Constants:
    """What a step reads."""

    generator: Generator | None
    """None where it trains."""
    frozen: Frozen


def transfer_recipe(
    settings: TransferSettings,
    *,
    key: jax.Array,
    networks: Mapping[str, Any],
    held_out: Mapping[str, jax.Array] | None,
) -> Recipe:
    """The whole training, see `jaxface.training.recipe.Trainable`.

    Reads the roles ``generator`` and what the weighted terms need; begins with ``transfer`` where
    it is given. Scores are `validation`'s, of persons that are not trained on, where the suite has
    what judges them; the finished networks are those with the best of them (`merit`).

    Raises:
      UsageError: a network is missing or does not fit.
    """
    generator = needed_network("transfer", networks, "generator", why="it draws")
    frozen = _frozen(settings, networks)
    network = start_network(settings, generator, networks, key)
    state = initial_state(settings, network, generator)
    constants = Constants(None if settings.train_generator else generator, frozen)
    score = sample_images = None
    judges = Judges.of(networks)
    if held_out is not None:
        score, sample_images = validation(held_out, judges, generator)
    return Recipe(
        state=state,
        stages=[
            Stage(
                [transfer_phase(settings)],
                settings.steps,
                settings.batch_size,
                microbatches=settings.microbatches,
            )
        ],
        fields=settings.fields,
        networks=_finished,
        parameters=_trained(state.network, state.generator),
        constants=constants,
        sample_images=sample_images,
        score=score,
        merit=merit if score is not None and judges.choose else None,
    )


def start_network(
    settings: TransferSettings,
    generator: Generator,
    networks: Mapping[str, Any],
    key: jax.Array,
) -> TransferNetwork:
    """The network of role ``transfer`` where there is one, or a fresh one as the settings say.

    Raises:
      UsageError: the network given, the generator or the recognition network has other sizes.
    """
    config = settings.network
    wanted = (generator.num_ws, generator.config.w_dim)
    if (config.num_ws, config.w_dim) != wanted:
        raise UsageError(
            f"transfer: the generator takes W+ of {wanted[0]} x {wanted[1]}, method.network gives "
            f"{config.num_ws} x {config.w_dim}; set method.network.num_ws={wanted[0]} and "
            f"method.network.w_dim={wanted[1]}"
        )
    return network_to_begin_with(
        "transfer", networks.get("transfer"), config, lambda: _fresh(settings, networks, key)
    )


def _fresh(
    settings: TransferSettings, networks: Mapping[str, Any], key: jax.Array
) -> TransferNetwork:
    network_key, mapper_key = jax.random.split(key)
    network = TransferNetwork(settings.network, rngs=nnx.Rngs(network_key))
    if settings.encoder_start == "recognition":
        body = needed_network(
            "transfer", networks, "recognition", why='encoder_start="recognition" copies it'
        ).body
        ours, theirs = (nnx.state(each) for each in (network.encoder.body, body))
        shapes = [jax.tree.map(jnp.shape, state) for state in (ours, theirs)]
        if shapes[0] != shapes[1]:
            raise UsageError(
                "transfer: the recognition network's trunk has other sizes than method.network; "
                "set channels, units and reduction alike, or encoder_start=random"
            )
        nnx.update(network.encoder.body, jax.tree.map(jnp.copy, theirs))
    if settings.mapper_start == "identity":
        network.mapper.start_as_identity(mapper_key)
    return network


def initial_state(
    settings: TransferSettings, network: TransferNetwork, generator: Generator
) -> TransferState:
    """The state before the first step."""
    trained = generator if settings.train_generator else None
    optimizer = _optimizer(settings).init(_trained(network, trained))
    return TransferState(network, trained, optimizer)


def transfer_phase(settings: TransferSettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; its constants are `Constants`.

    Metrics: ``loss``, equation 6, and its terms without their weights.
    """
    optimizer = _optimizer(settings)

    def step(state: TransferState, constants: Constants, batch: Batch, key: jax.Array):
        graphdef, _, rest = nnx.split(state.network, nnx.Param, ...)
        params = _trained(state.network, state.generator)

        def loss_fn(params, part, number):
            # A copy, which may change: its running statistics move.
            network = nnx.merge(graphdef, params["network"], rest, copy=True)
            network.train()
            generator: Any = constants.generator
            if state.generator is not None:
                generator = with_synthesis(state.generator, params["synthesis"])
            losses, terms, _ = transfer_losses(
                settings,
                network,
                generator,
                constants.frozen,
                part,
                jax.random.fold_in(key, number),
            )
            network.eval()
            _, _, moved = nnx.split(network, nnx.Param, ...)
            means = {name: jnp.mean(term) for name, term in terms.items()}
            return jnp.mean(losses), (moved, means)

        (loss, (rest, terms)), grads = mean_gradients(
            loss_fn, params, dict(batch), parts=settings.microbatches
        )
        updates, optimizer_state = optimizer.update(grads, state.optimizer, params)
        params: Any = optax.apply_updates(params, updates)
        generator = state.generator
        if generator is not None:
            generator = with_synthesis(generator, params["synthesis"])
        network = nnx.merge(graphdef, params["network"], rest)
        return TransferState(network, generator, optimizer_state), {"loss": loss, **terms}

    return Phase("transfer", step)


def _optimizer(settings: TransferSettings) -> optax.GradientTransformation:
    def at(rate: float) -> optax.GradientTransformation:
        last = settings.last_learning_rate
        if last == 1.0:
            return ranger(rate)
        return ranger(optax.cosine_decay_schedule(rate, settings.steps, last))

    if settings.encoder_learning_rate is None:
        return at(settings.learning_rate)

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "encoder" if "encoder" in jax.tree_util.keystr(path) else "rest", params
        )

    both: dict[Any, Any] = {
        "encoder": at(settings.encoder_learning_rate),
        "rest": at(settings.learning_rate),
    }
    return optax.partition(both, labels)


def _trained(network: TransferNetwork, generator: Generator | None) -> dict[str, Any]:
    """The parameters that are trained; of a generator those that draw."""
    params = {"network": nnx.state(network, nnx.Param)}
    if generator is not None:
        params["synthesis"] = nnx.state(generator.synthesis, nnx.Param)
    return params


def _finished(state: TransferState) -> dict[str, Any]:
    networks: dict[str, Any] = {"transfer": state.network}
    return networks if state.generator is None else networks | {"generator": state.generator}


def _frozen(settings: TransferSettings, networks: Mapping[str, Any]) -> Frozen:
    weights, lpips, recognition = settings.weights, None, None
    if weights["perceptual"] or weights["perceptual_crop"]:
        lpips = needed_network(
            "transfer", networks, settings.distance, why="the perceptual terms need it"
        )
        if settings.distance == "perceptual":
            lpips = LPIPS.of_trunk(lpips)
    if weights["identity"]:
        recognition = needed_network(
            "transfer", networks, "recognition", why="the identity term needs it"
        )
    return Frozen(lpips, recognition)
