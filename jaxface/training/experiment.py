"""An experiment: a method's settings, the data, and how often to evaluate; and running one.

A file in `configs/` holds one, as the function ``get_config() -> Experiment``, or several,
``get_config(variant=None)``. The method is any
`jaxface.training.recipe.Trainable` settings, the data any `jaxface.data.sources.DataSource`. The
run folder receives checkpoints, metrics and sample grids (`jaxface.training.loop.fit`), and at the
end the networks as safetensors files that `jaxface.load_network` reads: the last ones, or where the
method can tell (`Recipe.merit`) the best ones, which wait in ``best/`` until then. A run that is
stopped leaves there the networks as they are then. Of several processes
(`jaxface.runtime.distributed`) each reads its share of every batch, and the first one writes.
"""

import dataclasses
import inspect
import json
import math
import os
import pathlib
import runpy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from jaxface import __version__
from jaxface.data.sources import DataSource
from jaxface.errors import JaxfaceError, UsageError, on_one_line
from jaxface.runtime.devices import data_mesh, divisor_mesh
from jaxface.runtime.files import atomic_writer
from jaxface.runtime.progress import working
from jaxface.suite import NamedRole, load_suite, role_of
from jaxface.training.loop import Hook, Interrupted, fit, local_copy, sample_grid
from jaxface.training.recipe import ChecksData, Recipe, Trainable
from jaxface.weights import load_network, save_network


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that defines a run."""

    method: Trainable
    """The settings of what is trained."""
    data: DataSource
    """Of `jaxface.data.sources`, or another class that meets its protocol."""
    networks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Files of networks to begin with or to read, by role."""
    suite: str | None = None
    """Name or folder of a suite to read the roles from that `networks` does not name."""
    seed: int = 0
    log_every: int = 50
    checkpoint_every: int = 500
    eval_every: int = 500
    """Steps between evaluations: sample grids and held-out scores."""


def split_config(config: str | os.PathLike[str]) -> tuple[pathlib.Path, str | None]:
    """The file of a configuration, and after its last colon the variant, where one is named.

    Example:
      >>> split_config("configs/embedded_latent_difference.py:naive")[1]
      'naive'
    """
    text = os.fspath(config)
    file, colon, variant = text.rpartition(":")
    if colon and not pathlib.Path(text).is_file():
        return pathlib.Path(file), variant
    return pathlib.Path(text), None


def load_experiment(config: str | os.PathLike[str]) -> Experiment:
    """Runs a configuration file and calls its ``get_config``.

    Args:
      config: the file, or ``FILE:VARIANT``: `get_config` then has the variant's name as its
        argument.

    Raises:
      UsageError: no such file or variant, it fails, or it gives no `Experiment`, or one whose
        method trains nothing.
    """
    path, variant = split_config(config)
    if not path.is_file():
        raise UsageError(f"{path}: no such configuration file")
    try:
        get_config = runpy.run_path(os.fspath(path)).get("get_config")
        if variant is not None and callable(get_config):
            if not inspect.signature(get_config).parameters:
                raise UsageError(f"{path}: has no variants, got {variant!r}")
            experiment = get_config(variant)
        else:
            experiment = get_config() if callable(get_config) else None
    except JaxfaceError:
        raise
    except Exception as error:  # of the file's own code
        reason = on_one_line(f"{type(error).__name__}: {error}")
        raise UsageError(f"{path}: cannot be run as a configuration: {reason}") from error
    if not isinstance(experiment, Experiment):
        raise UsageError(
            f"{path}: expected a function get_config() that returns an "
            "Experiment of jaxface.training.experiment"
        )
    if not isinstance(experiment.method, Trainable):
        raise UsageError(
            f"{path}: {type(experiment.method).__name__} trains no network; expected settings "
            "with `trains` and `recipe` (jaxface.training.recipe.Trainable)"
        )
    return experiment


def split_role(role: str) -> tuple[str, str | None]:
    """A role's family, and its name in it where a suite has several of the family.

    ``rignet_pose`` is ``("rignet", "pose")``; ``generator`` is ``("generator", None)``.
    """
    family = role_of(role)
    if not isinstance(family, NamedRole):
        return role, None
    return family.prefix.removesuffix("_"), role.removeprefix(family.prefix)


def check_name(name: str, method: Trainable) -> None:
    """Insist that `name` is what the settings train: the role, its family, or what kind of network
    it is (``encoder`` of ``in_domain_encoder``).

    Raises:
      UsageError: they train something else.
    """
    family, _ = split_role(method.trains)
    if name not in (method.trains, family) and not method.trains.endswith(f"_{name}"):
        raise UsageError(
            f"train {name}: the configuration trains {method.trains} ({type(method).__name__}); "
            f"expected {family}, or no name"
        )


def recipe_of(experiment: Experiment) -> Recipe:
    """The method made ready without reading any data, so without scores; see `run_experiment`.

    Raises:
      UsageError: the data cannot train the method, or a network is missing or does not fit.
    """
    method = experiment.method
    if isinstance(method, ChecksData):
        method.check_data(experiment.data)
    with working("preparing the networks"):
        key, _ = jax.random.split(jax.random.key(experiment.seed))
        return method.recipe(key=key, networks=_Networks(experiment), held_out=None)


def run_experiment(
    experiment: Experiment,
    directory: pathlib.Path,
    *,
    profile: pathlib.Path | None = None,
    ready: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Trains to the end, from the run folder's newest checkpoint if there is one.

    Args:
      experiment: the method and the rest.
      directory: the run folder.
      profile: folder for a trace of the first stage, see `jaxface.training.loop.fit`; None for
        none.
      ready: called once data and networks are there and fit, before anything is written.

    Returns:
      The finished networks by role, as they were written to `<directory>/<role>.safetensors`.

    Raises:
      UsageError: the data cannot train the method, a network is missing or does not fit, or one of
        several processes finds no data set where a single one would make it.
    """
    method, data = experiment.method, experiment.data
    if isinstance(method, ChecksData):
        method.check_data(data)
    with working("preparing the data") as preparing:
        items = data.held_out()
        held_out = None if items is None else _HeldOut(type(data).__name__, items)
        initial_key, run_key = jax.random.split(jax.random.key(experiment.seed))
        preparing.doing("preparing the networks")
        recipe = method.recipe(key=initial_key, networks=_Networks(experiment), held_out=held_out)
    best = None if recipe.merit is None else BestNetworks(directory, recipe, experiment)
    state, steps = recipe.state, 0
    try:
        for stage in recipe.stages:
            steps += stage.steps
            batches = data.batches(stage.batch_size, recipe.fields, seed=experiment.seed)
            mesh = _mesh(method.trains, stage.batch_size, stage.microbatches)
            if steps == stage.steps:
                ready()
            state = fit(
                state,
                stage.phases,
                batches,
                key=run_key,
                steps=steps,
                directory=directory,
                constants=recipe.constants,
                log_every=experiment.log_every,
                checkpoint_every=experiment.checkpoint_every,
                hooks=_hooks(recipe, best, directory, experiment.eval_every),
                settings=_identity(experiment),
                upgrade=lambda stored: _upgrade(stored, experiment),
                mesh=mesh,
                parameters=recipe.parameters if steps == stage.steps else None,
                profile=profile if steps == stage.steps else None,
            )
    except Interrupted as stop:
        unfinished = recipe.networks(local_copy(stop.state))
        _write(unfinished, experiment, stop.step, directory)
        raise
    finished = dict(recipe.networks(local_copy(state)))
    if best is not None and best.step is not None:
        # Read back from the run folder: after a resumption no other place has them.
        finished = {role: load_network(best.path(role)) for role in finished}
        steps = best.step
    _write(finished, experiment, steps, directory)
    return finished


class BestNetworks:
    """The networks of the best evaluation so far, in a run's folder ``best/``.

    Beside them ``best.json`` has the step and the metrics. A run that is resumed from before them
    evaluates the same state again, which is then no better.

    Args:
      directory: the run folder.
      recipe: has `score` and `merit`.
      experiment: what the files say of themselves.
    """

    def __init__(self, directory: pathlib.Path, recipe: Recipe, experiment: Experiment):
        self.folder = directory / "best"
        self._recipe, self._experiment = recipe, experiment

    @property
    def step(self) -> int | None:
        """After which step they were, None where there are none yet."""
        row = self._row()
        return None if row is None else int(row["step"])

    def path(self, role: str) -> pathlib.Path:
        """The file of a network."""
        return self.folder / f"{role}.safetensors"

    def consider(self, step: int, state: Any, metrics: Mapping[str, float]) -> None:
        """Keeps the networks of a state if its metrics are the best."""
        assert self._recipe.merit is not None
        merit, row = float(self._recipe.merit(metrics)), self._row()
        if jax.process_index() or not math.isfinite(merit):
            return
        if row is not None and not merit > row["merit"]:
            return
        _write(self._recipe.networks(state), self._experiment, step, self.folder)
        with atomic_writer(self.folder / "best.json") as file:
            file.write(json.dumps({"step": step, "merit": merit, **metrics}).encode())

    def _row(self) -> dict[str, Any] | None:
        path = self.folder / "best.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


class _HeldOut(dict[str, Any]):
    """Held-out items by field; one that the data does not hold out is the user's error."""

    def __init__(self, source: str, items: Mapping[str, Any]):
        super().__init__(items)
        self._source = source

    def __missing__(self, field: str) -> Any:
        raise UsageError(
            f"data: {self._source} holds out no field {field!r}, which scores are taken on; it has "
            f"{', '.join(sorted(self))}"
        )


class _Networks(Mapping[str, Any]):
    """The experiment's networks by role, its own files before its suite's; read when asked for.

    The suite's network of the role that is trained is left out: a run begins with one only where
    the experiment names its file.
    """

    def __init__(self, experiment: Experiment):
        self._own = experiment.networks
        self._suite = None if experiment.suite is None else load_suite(experiment.suite)
        files = self._suite.files if self._suite else {}
        read = [role for role in files if role != experiment.method.trains]
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


def _mesh(role: str, batch_size: int, microbatches: int) -> Mesh:
    """All devices; on CPU, where they are cores of one machine, as many as divide a microbatch."""
    each = batch_size // microbatches
    if jax.default_backend() == "cpu" and jax.process_count() == 1:
        return divisor_mesh(each)
    if each % jax.device_count():
        what = "a batch" if microbatches == 1 else "a microbatch"
        raise UsageError(
            f"train {role}: {what} of {each} does not divide over {jax.device_count()} devices; "
            "change the batch size or the microbatches"
        )
    return data_mesh()


def _hooks(
    recipe: Recipe, best: BestNetworks | None, directory: pathlib.Path, every: int
) -> list[Hook]:
    hooks = []
    if recipe.sample_images is not None:
        hooks.append(sample_grid(directory, recipe.sample_images, every=every))
    if recipe.score is not None:
        score = recipe.score

        def evaluate(step: int, state: Any) -> Mapping[str, float]:
            metrics = score(state)
            if best is not None:
                best.consider(step, state, metrics)
            return metrics

        hooks.append(Hook("held_out", every, evaluate))
    return hooks


def _identity(experiment: Experiment) -> dict[str, Any]:
    """What must not change when a run is resumed, as JSON; where files lie may."""
    data = _fields(experiment.data)
    for name in ("directory", "path", "workers"):
        data.pop(name, None)
    method = _fields(experiment.method)
    method.pop("microbatches", None)  # goes by the memory that there is
    settings = {"method": type(experiment.method).__name__, "settings": method, "data": data}
    return json.loads(json.dumps(settings))


def _upgrade(stored: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    """The identity that an earlier version stored, as this one writes it.

    What was trained is no longer named beside the method's class, which says it. Renamed fields
    have their new names, and fields that are new their defaults.
    """
    now = _identity(experiment)
    upgraded = {name: value for name, value in stored.items() if name != "train"}
    for part, settings in (("settings", experiment.method), ("data", experiment.data)):
        renamed = {
            field.metadata["formerly"]: field.name
            for field in dataclasses.fields(settings)  # pyright: ignore[reportArgumentType]
            if "formerly" in field.metadata
        }
        values = upgraded.get(part, {})
        values = {renamed.get(name, name): value for name, value in values.items()}
        upgraded[part] = _completed(values, settings, now[part])
    return upgraded


def _completed(stored: Any, settings: Any, now: Any) -> Any:
    """Stored values with what did not exist when they were: its default.

    Args:
      stored: JSON of a value or of a dataclass.
      settings: the value itself as it is now, which knows the defaults.
      now: its JSON.
    """
    if isinstance(stored, list) and isinstance(settings, (list, tuple)):
        return [_completed(*each) for each in zip(stored, settings, now, strict=False)] + stored[
            len(now) :
        ]
    if not isinstance(stored, Mapping) or not dataclasses.is_dataclass(settings):
        return stored
    values = dict(stored)
    for field in dataclasses.fields(settings):
        if field.name not in now:
            continue
        if field.name in stored:
            value = getattr(settings, field.name)
            values[field.name] = _completed(stored[field.name], value, now[field.name])
        elif field.default is not dataclasses.MISSING:
            values[field.name] = json.loads(json.dumps(field.default, default=_fields))
        elif field.default_factory is not dataclasses.MISSING:
            values[field.name] = json.loads(json.dumps(field.default_factory(), default=_fields))
    return values


def _metadata(experiment: Experiment, steps: int) -> dict[str, str]:
    return {
        "jaxface_version": __version__,
        "method": type(experiment.method).__name__,
        "settings": json.dumps(_fields(experiment.method)),
        "seed": str(experiment.seed),
        "steps": str(steps),
    }


def _fields(settings: Any) -> dict[str, Any]:
    return dataclasses.asdict(settings)
