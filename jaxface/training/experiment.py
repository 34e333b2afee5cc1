"""An experiment: a method's settings, the data, and how often to look; and running one.

A file in `configs/` holds one, as the function ``get_config() -> Experiment``. The run folder
receives checkpoints, metrics and sample grids (`jaxface.training.loop.fit`), and at the end the
networks as safetensors files that `jaxface.load_network` reads. A run that is stopped leaves there
what it got to. Of several processes (`jaxface.runtime.distributed`) each reads its share of every
batch, and the first one writes.
"""

import dataclasses
import importlib
import json
import os
import pathlib
import runpy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxface import __version__
from jaxface.errors import UsageError
from jaxface.runtime.devices import data_mesh, divisor_mesh
from jaxface.suite import load_suite
from jaxface.training.loop import Hook, Interrupted, fit, local_copy, sample_grid
from jaxface.training.recipe import Recipe, RecipeMaker
from jaxface.weights import load_network, save_network

NUM_HELD_OUT = 256
"""Items of the test split that scores are taken on."""

# Settings class to the module whose `recipe` takes it, by the name of what is trained.
METHODS: dict[str, dict[str, str]] = {
    "generator": {
        "RegressionSettings": "jaxface.methods.scene_regression",
        "StyleGAN2Settings": "jaxface.methods.stylegan2",
    },
    "landmarks": {"LandmarkSettings": "jaxface.methods.landmark_regression"},
    "perceptual": {"FeatureSettings": "jaxface.methods.perceptual_features"},
    "recognition": {"ArcFaceSettings": "jaxface.methods.arcface"},
    "reconstruction": {"MoFASettings": "jaxface.methods.mofa"},
    "rignet": {"RigNetSettings": "jaxface.methods.rignet"},
}


@dataclasses.dataclass(frozen=True)
class RenderedPortraits:
    """The embedded world's data set, made in `directory` unless it is there already."""

    resolution: int
    num_train: int = 100_000
    num_test: int = 2_000
    seed: int = 0
    directory: str = "data"


@dataclasses.dataclass(frozen=True)
class IdentityPortraits:
    """Persons of the embedded world, each on many occasions; made in `directory` like the others.

    Those held out are other persons, all of whose images are scored.
    """

    resolution: int
    num_identities: int = 4_000
    images_per_identity: int = 12
    num_test_identities: int = 200
    seed: int = 0
    mirror: bool = True
    directory: str = "data"


@dataclasses.dataclass(frozen=True)
class LiveRenders:
    """The embedded world, rendered on the device that trains; endless, nothing is stored."""

    resolution: int
    num_test: int = NUM_HELD_OUT
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """The folder of a TFDS data set in array_record files, with an ``image`` of the right size."""

    path: str
    split: str = "train"
    mirror: bool = False


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """A folder of pictures, centre-cropped and resized."""

    path: str
    resolution: int
    mirror: bool = False


@dataclasses.dataclass(frozen=True)
class Latents:
    """Keys to sample a generator's latents with; endless, for methods that draw their images."""

    num_test: int = NUM_HELD_OUT
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that defines a run."""

    method: Any
    """The settings of a method in `METHODS`."""
    data: (
        RenderedPortraits
        | IdentityPortraits
        | LiveRenders
        | PreparedDataset
        | ImageFolder
        | Latents
    )
    networks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Files of networks to begin with or to read, by role."""
    suite: str | None = None
    """Name or folder of a suite to read the roles from that `networks` does not name."""
    seed: int = 0
    log_every: int = 50
    checkpoint_every: int = 500
    eval_every: int = 500
    """Steps between sample grids and between scores."""


def load_experiment(path: str | os.PathLike[str]) -> Experiment:
    """Runs a configuration file and calls its ``get_config``.

    Raises:
      UsageError: no such file, or it gives no `Experiment`.
    """
    if not pathlib.Path(path).is_file():
        raise UsageError(f"{path}: no such configuration file")
    get_config = runpy.run_path(os.fspath(path)).get("get_config")
    experiment = get_config() if callable(get_config) else None
    if not isinstance(experiment, Experiment):
        raise UsageError(
            f"{path}: expected a function get_config() that returns an "
            "Experiment of jaxface.training.experiment"
        )
    return experiment


def run_experiment(
    name: str,
    experiment: Experiment,
    directory: pathlib.Path,
    *,
    profile: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Trains to the end, from the run folder's newest checkpoint if there is one.

    Args:
      name: what to train, a key of `METHODS`. experiment: a method that trains it, and the rest.
      directory: the run folder. profile: folder for a trace of the first stage, see
      `jaxface.training.loop.fit`; None for none.

    Returns:
      The finished networks by role, as they were written to `<directory>/<role>.safetensors`.

    Raises:
      UsageError: the method trains something else, or expects other persons than the data has; or
        one of several processes finds no data set where a single one would make it.
    """
    make = _method(name, experiment.method)
    _check_identities(name, experiment)
    batches, held_out = _open(experiment)
    networks = _Networks(name, experiment)
    initial_key, run_key = jax.random.split(jax.random.key(experiment.seed))
    recipe = make(experiment.method, key=initial_key, networks=networks, held_out=held_out)
    state, steps = recipe.state, 0
    try:
        for stage in recipe.stages:
            steps += stage.steps
            state = fit(
                state,
                stage.phases,
                batches(stage.batch_size, recipe.fields),
                key=run_key,
                steps=steps,
                directory=directory,
                constants=recipe.constants,
                log_every=experiment.log_every,
                checkpoint_every=experiment.checkpoint_every,
                hooks=_hooks(recipe, directory, experiment.eval_every),
                settings=_identity(name, experiment),
                mesh=_mesh(name, stage.batch_size, stage.microbatches),
                parameters=recipe.parameters if steps == stage.steps else None,
                profile=profile if steps == stage.steps else None,
            )
    except Interrupted as stop:
        networks_now = recipe.networks(local_copy(stop.state))
        _write(dict(networks_now), experiment, stop.step, directory)
        raise
    finished = dict(recipe.networks(local_copy(state)))
    _write(finished, experiment, steps, directory)
    return finished


class _Networks(Mapping[str, Any]):
    """The experiment's networks by role, its own files before its suite's; read when asked for.

    The suite's network of what is trained is left out: a run begins with it only where it is named.
    """

    def __init__(self, name: str, experiment: Experiment):
        self._own = experiment.networks
        self._suite = None if experiment.suite is None else load_suite(experiment.suite)
        files = self._suite.files if self._suite else {}
        read = [role for role in files if role != name and not role.startswith(f"{name}_")]
        self._roles = list(dict.fromkeys([*self._own, *read]))

    def __getitem__(self, role: str) -> Any:
        if role not in self._roles:
            raise KeyError(role)
        if self._suite is None or role in self._own:
            return load_network(self._own[role])
        return self._suite.network(role)

    def __contains__(self, role: object) -> bool:
        return role in self._roles

    def __iter__(self) -> Iterator[str]:
        return iter(self._roles)

    def __len__(self) -> int:
        return len(self._roles)


def _write(
    networks: Mapping[str, Any], experiment: Experiment, steps: int, directory: pathlib.Path
) -> None:
    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        for role, network in networks.items():
            path = directory / f"{role}.safetensors"
            save_network(path, network, metadata=_metadata(experiment, steps))


def _mesh(name: str, batch_size: int, microbatches: int) -> Mesh:
    """All devices; on CPU, where they are cores of one machine, as many as divide a microbatch."""
    each = batch_size // microbatches
    if jax.default_backend() == "cpu" and jax.process_count() == 1:
        return divisor_mesh(each)
    if each % jax.device_count():
        what = "a batch" if microbatches == 1 else "a microbatch"
        raise UsageError(
            f"train {name}: {what} of {each} does not divide over {jax.device_count()} devices; "
            "change it with --set"
        )
    return data_mesh()


def _method(name: str, settings: Any) -> RecipeMaker:
    methods = METHODS[name]
    kind = type(settings).__name__
    if kind not in methods:
        raise UsageError(
            f"train {name}: the configuration's method is {kind}, "
            f"expected {' or '.join(sorted(methods))}"
        )
    return importlib.import_module(methods[kind]).recipe


def _check_identities(name: str, experiment: Experiment) -> None:
    """A class for every person: one too few would stop the run at the first such item."""
    expected = getattr(experiment.method, "num_identities", None)
    data = experiment.data
    if expected is None or isinstance(data, PreparedDataset):
        return
    if not isinstance(data, IdentityPortraits):
        raise UsageError(
            f"train {name}: {type(data).__name__} has nobody twice; expected IdentityPortraits, or "
            "a PreparedDataset with the field 'person'"
        )
    if data.num_identities != expected:
        raise UsageError(
            f"train {name}: data.num_identities is {data.num_identities}, method.num_identities is "
            f"{expected}; change one with --set"
        )


def _open(
    experiment: Experiment,
) -> tuple[Callable[[int, tuple[str, ...]], Any], dict[str, np.ndarray] | None]:
    """(batch size, fields) -> endless batches; and items held out, where the truth is known."""
    data = experiment.data
    if isinstance(data, Latents):
        from jaxface.data.latent_items import LatentKeys, key_data

        def latents(size: int, fields: tuple[str, ...]) -> Any:
            if fields != ("key",):
                raise UsageError(f"data: Latents has keys, the method needs {', '.join(fields)}")
            return LatentKeys(batch_size=size, seed=data.seed)

        test = np.arange(data.num_test)
        return latents, {"key": key_data(data.seed, "test", test)} if data.num_test else None
    if isinstance(data, LiveRenders):
        from jaxface.data.scene_items import LivePortraits, item_keys, scene_items

        def live(size: int, fields: tuple[str, ...]) -> Any:
            return LivePortraits(data.resolution, batch_size=size, seed=data.seed, fields=fields)

        keys = item_keys(data.seed, "test", jnp.arange(data.num_test))
        items = jax.device_get(scene_items(keys, data.resolution)) if data.num_test else None
        return live, items and {name: items[name] for name in ("image", "factors")}

    from jaxface.data import pipelines

    train, test = _sources(data)
    mirror = getattr(data, "mirror", False)

    def stored(size: int, fields: tuple[str, ...]) -> Any:
        return pipelines.batches(
            train,
            batch_size=size,
            seed=experiment.seed,
            fields=fields,
            transform=pipelines.mirror if mirror else None,
        )

    held_out = None
    if test is not None:
        several = isinstance(data, IdentityPortraits)
        held_out = _first(test, len(test) if several else NUM_HELD_OUT)
    return stored, held_out


def _sources(data: Any) -> tuple[Any, Any | None]:
    """Items to train on, and items held out."""
    from jaxface.data import pipelines

    if isinstance(data, ImageFolder):
        return pipelines.FolderSource(data.path, data.resolution), None
    if isinstance(data, PreparedDataset):
        return pipelines.tfds_source(data.path, split=data.split), None
    from jaxface.data.synthetic_portraits import PortraitsConfig, generate, is_generated

    if isinstance(data, IdentityPortraits):
        each = data.images_per_identity
        sizes: dict[str, Any] = {
            "num_train": data.num_identities * each,
            "num_test": data.num_test_identities * each,
            "images_per_identity": each,
        }
    else:
        sizes = {"num_train": data.num_train, "num_test": data.num_test}
    config = PortraitsConfig(resolution=data.resolution, seed=data.seed, **sizes)
    if jax.process_count() > 1 and not is_generated(config, data.directory):
        raise UsageError(
            f"{data.directory}: the data set is not there, and {jax.process_count()} processes "
            "would make it at once; make it first, with `jaxface data`"
        )
    folder = generate(config, data.directory)
    test = pipelines.tfds_source(folder, split="test") if config.num_test else None
    return pipelines.tfds_source(folder), test


def _first(source: Any, count: int) -> dict[str, np.ndarray]:
    items = [source[index] for index in range(min(count, len(source)))]
    names = [name for name in ("image", "factors", "person") if name in items[0]]
    return {name: np.stack([item[name] for item in items]) for name in names}


def _hooks(recipe: Recipe, directory: pathlib.Path, every: int) -> list[Hook]:
    hooks = []
    if recipe.sample_images is not None:
        hooks.append(sample_grid(directory, recipe.sample_images, every=every))
    if recipe.score is not None:
        score = recipe.score
        hooks.append(Hook("held_out", every, lambda step, state: score(state)))
    return hooks


def _identity(name: str, experiment: Experiment) -> dict[str, Any]:
    """What must not change when a run is resumed, as JSON; where files lie may."""
    data = dataclasses.asdict(experiment.data)
    data.pop("directory", None)
    data.pop("path", None)
    method = dataclasses.asdict(experiment.method)
    method.pop("microbatches", None)  # goes by the memory that there is
    settings = {
        "train": name,
        "method": type(experiment.method).__name__,
        "settings": method,
        "data": data,
    }
    return json.loads(json.dumps(settings))


def _metadata(experiment: Experiment, steps: int) -> dict[str, str]:
    return {
        "jaxface_version": __version__,
        "method": type(experiment.method).__name__,
        "settings": json.dumps(dataclasses.asdict(experiment.method)),
        "seed": str(experiment.seed),
        "steps": str(steps),
    }
