"""How good a generator of the embedded world is.

Samples are compared with renders in a space of features: spatial means of the perceptual network's
activations. What a distance between two finite sets of the same distribution is, the floor, is
measured with two disjoint sets of renders. All renders are of keys that no training uses.

The perceptual network may have taken part in the generator's training. A suite with a network of
the role ``attributes``, which no training reads, is also judged by that: in its features, and by
what it reads of samples whose factors are known (`jaxface.methods.attribute_regression`).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import UsageError
from jaxface.evaluation.generator_draws import SEED, batches, renders
from jaxface.evaluation.generator_draws import samples as drawn_samples
from jaxface.evaluation.generator_judge import (
    JudgeScores,
    errors_of_renders,
    errors_of_samples,
    judge_features,
    judge_rows,
)
from jaxface.evaluation.outputs import Outcome, Workspace
from jaxface.evaluation.sheets import factor_sheet, gaze_sheet, generator_sheets
from jaxface.evaluation.suite_world import suite_world
from jaxface.keys import item_keys
from jaxface.losses import perceptual
from jaxface.media.images import grid, write_png
from jaxface.methods import pie
from jaxface.methods.attribute_regression import VERSION
from jaxface.methods.scene_regression import held_out_psnr
from jaxface.metrics import (
    frechet_distance,
    linear_probe_r2,
    perceptual_path_length,
    precision_recall,
    psnr,
)
from jaxface.morphable.worlds import World
from jaxface.morphable.worlds import world as world_of
from jaxface.nets import VGG16, Generator
from jaxface.runtime.devices import divisor_mesh
from jaxface.suite import Suite

FEATURE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""The layers whose spatial means are the features, low and high ones side by side."""


@dataclasses.dataclass(frozen=True)
class GeneratorScores:
    """What was measured.

    Attributes:
      frechet: distance of samples from renders, see `jaxface.metrics.frechet_distance`.
      frechet_floor: of renders from other renders, as many.
      precision, recall: of samples, see `jaxface.metrics.precision_recall`.
      precision_floor, recall_floor: of renders against other renders.
      path_length: see `jaxface.metrics.perceptual_path_length`.
      factors_psnr: dB of held-out scenes, drawn from their factors; mean and lowest. None for a
        generator whose z does not begin with them.
      w_plus_psnr: dB of held-out renders, inverted in W+; mean and lowest.
      linear_r2: by group of factors, R squared of a linear probe of w. None as above.
      samples: items in each set.
      portraits: renders inverted.
      judge: None for a suite without ``attributes``.
    """

    frechet: float
    frechet_floor: float
    precision: float
    recall: float
    precision_floor: float
    recall_floor: float
    path_length: float
    factors_psnr: tuple[float, float] | None
    w_plus_psnr: tuple[float, float] | None
    linear_r2: dict[str, float] | None
    samples: int
    portraits: int
    judge: JudgeScores | None


def evaluate_generator(
    suite: Suite,
    *,
    version: str = "2.0.0",
    samples: int = 10_000,
    portraits: int = 64,
    knows_factors: bool = True,
    settings: pie.Settings = pie.EMBEDDED,
    batch_size: int = 100,
    say: Callable[[str], None] = lambda text: None,
) -> GeneratorScores:
    """Measures a suite's generator with the suite's perceptual network.

    Args:
      suite: has a generator and perceptual features.
      version: of the world whose renders are the reference.
      samples: items in each of the three sets: samples, renders, other renders.
      portraits: held-out renders to invert; 0 leaves that out.
      knows_factors: whether z begins with a scene's factors, as `scene_regression` trains it.
      settings: how the portraits are inverted.
      batch_size: items at a time.
      say: receives a line before each part.
    """
    generator, network, of = suite.generator, suite.perceptual, world_of(version)
    keys = dict(
        zip(
            ("real", "other", "fake", "paths", "held", "probe", "free"),
            jax.random.split(jax.random.key(SEED), 7),
            strict=True,
        )
    )
    size = generator.resolution
    spaces: dict[str, Callable[[jax.Array], jax.Array]] = {
        "perceptual": lambda images: _pooled(network, images, size)
    }
    judge = suite.attributes if "attributes" in suite else None
    if judge is not None:
        spaces["judge"] = lambda images: judge_features(judge, images)
    sets: dict[str, dict[str, np.ndarray]] = {}
    for name in ("real", "other"):
        say(f"rendering {samples} scenes")
        drawn = renders(keys[name], samples, size, batch_size, version=version)
        sets[name] = _features(spaces, drawn)
    say(f"drawing {samples} samples")
    sets["fake"] = _features(spaces, drawn_samples(generator, keys["fake"], samples, batch_size))
    say("comparing")
    real, other, fake = (sets[name]["perceptual"] for name in ("real", "other", "fake"))
    measured, floor = precision_recall(fake, real), precision_recall(other, real)
    weights = dict(settings.layers)
    say("walking paths")
    length = perceptual_path_length(
        generator, network, weights, key=keys["paths"], count=max(samples // 5, 1)
    )
    from_factors, r2, inverted = None, None, None
    if knows_factors:
        say("drawing held-out scenes")
        score = _factor_psnr(generator, of, keys["held"], 256, keys["free"])
        from_factors = _mean_and_lowest(score)
        r2 = linear_r2(generator, keys["probe"], 10 * generator.config.w_dim, version=version)
    if portraits:
        say(f"inverting {portraits} portraits")
        held_out = renders(keys["held"], portraits, size, batch_size, version=version)
        scenes = jnp.concatenate(list(held_out))
        item = item_keys(jax.random.key(0), [f"held-{i}" for i in range(portraits)])
        inversion = pie.invert(
            suite, scenes, keys=item, settings=settings, mesh=divisor_mesh(portraits)
        )
        inverted = _mean_and_lowest(psnr(jnp.clip(inversion.images, -1.0, 1.0), scenes))
    judged = None
    if judge is not None:
        say("reading gaze, mouths and glasses")
        judged = JudgeScores(
            frechet=frechet_distance(sets["fake"]["judge"], sets["real"]["judge"]),
            frechet_floor=frechet_distance(sets["other"]["judge"], sets["real"]["judge"]),
            renders=errors_of_renders(judge, of, keys["held"], size),
            samples=errors_of_samples(judge, of, keys["held"], generator)
            if knows_factors
            else None,
        )
    return GeneratorScores(
        frechet=frechet_distance(fake, real),
        frechet_floor=frechet_distance(other, real),
        precision=measured.precision,
        recall=measured.recall,
        precision_floor=floor.precision,
        recall_floor=floor.recall,
        path_length=length,
        factors_psnr=from_factors,
        w_plus_psnr=inverted,
        linear_r2=r2,
        samples=samples,
        portraits=portraits,
        judge=judged,
    )


def linear_r2(
    generator: Generator, key: jax.Array, count: int, *, version: str = "2.0.0"
) -> dict[str, float]:
    """R squared of an affine map from w to what it should know, by group of the scene's parameters.

    Rotation, translation, identity, reflectance, expression and illumination are the face
    parameters; the rest are the whitened factors of the surroundings.
    """
    z = jax.random.normal(key, (count, generator.config.z_dim))
    w = np.asarray(jax.jit(lambda generator, z: generator.mapping.to_w(z))(generator, z))
    of = world_of(version)
    factors = z[:, : of.num_factors]
    face = of.scenes(factors).face
    groups: dict[str, Any] = {
        field.name: getattr(face, field.name) for field in dataclasses.fields(face)
    }
    for name in ("hair_colour", "hair_style", "clothes", "background", "glasses"):
        groups[name] = factors[:, of.factors[name]]
    return {name: linear_probe_r2(w, np.asarray(value)) for name, value in groups.items()}


@functools.partial(jax.jit, static_argnames="resolution")
def _pooled(network: VGG16, images: jax.Array, resolution: int) -> jax.Array:
    layers = perceptual.features(network, images, FEATURE_LAYERS, resolution=resolution)
    return jnp.concatenate([jnp.mean(layers[name], axis=(1, 2)) for name in FEATURE_LAYERS], axis=1)


def _features(
    spaces: Mapping[str, Callable[[jax.Array], jax.Array]], drawn: Iterator[jax.Array]
) -> dict[str, np.ndarray]:
    """The images' features in each space, [N, D]."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in spaces}
    for images in drawn:
        for name, features_of in spaces.items():
            found[name].append(np.asarray(features_of(images)))
    return {name: np.concatenate(rows) for name, rows in found.items()}


def _factor_psnr(
    generator: Generator, of: World, key: jax.Array, count: int, free: jax.Array
) -> jax.Array:
    factors = jnp.concatenate(list(batches(key, count, of.num_factors, 64)))
    images = of.render(of.scenes(factors), generator.resolution)
    score = jax.jit(held_out_psnr, static_argnames="resolution")
    return score(generator, factors, images, free, resolution=generator.resolution)


def _mean_and_lowest(values: jax.Array | np.ndarray) -> tuple[float, float]:
    return float(jnp.mean(values)), float(jnp.min(values))


def generator_report(suite: Suite, scores: GeneratorScores) -> str:
    """Markdown of what `evaluate_generator` measured, each number with what it should be near."""
    size = suite.generator.resolution
    ratio = scores.frechet / scores.frechet_floor
    rows = [
        ("Fréchet distance to renders", f"{scores.frechet:.4f}, {ratio:.1f} times the floor"),
        ("the floor: renders to other renders", f"{scores.frechet_floor:.4f}"),
        ("precision", f"{scores.precision:.3f} (renders {scores.precision_floor:.3f})"),
        ("recall", f"{scores.recall:.3f} (renders {scores.recall_floor:.3f})"),
        ("perceptual path length", f"{scores.path_length:.1f}"),
    ]
    for name, psnrs in (
        ("held-out scenes from their factors", scores.factors_psnr),
        (f"{scores.portraits} held-out renders, inverted in W+", scores.w_plus_psnr),
    ):
        if psnrs is not None:
            rows.append((name, f"{psnrs[0]:.1f} dB, lowest {psnrs[1]:.1f}"))
    if scores.judge is not None:
        rows += judge_rows(scores.judge)
    lines = [
        f"# Generator of the suite {suite.name}, {size} px",
        "",
        f"{scores.samples} items in each set; features are the perceptual network's, and where "
        "said those of the judge, which no training reads.",
        "",
        *_table(("measure", "value"), rows),
    ]
    if scores.linear_r2 is not None:
        groups = [(name, f"{value:.3f}") for name, value in scores.linear_r2.items()]
        lines += ["", "How linear W is in what it shows, R squared of an affine map from w:", ""]
        lines += _table(("group", "R squared"), groups)
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]


def run(
    suite: Suite,
    workspace: Workspace,
    *,
    portraits: int,
    samples: int,
    plain: bool,
    world: str | None,
) -> Outcome:
    """The evaluation of `jaxface evaluate generator`; see `jaxface.evaluation.Evaluation`.

    Args:
      suite: see `evaluate_generator`.
      workspace: receives ``generator.md``, ``generator.json`` and contact sheets.
      portraits: held-out renders to invert; 0 leaves that out.
      samples: items in each set, >= 10.
      plain: z does not begin with a scene's factors.
      world: the version of the embedded world; None: the suite's, which its judge or its
        reconstruction network reads.

    Raises:
      UsageError: there is no such world, the suite is of none, z is narrower than its factors, or
        the suite's judge reads another world.
    """
    of = _world(suite, world, plain)
    scores = evaluate_generator(
        suite,
        version=of.version,
        samples=samples,
        portraits=portraits,
        knows_factors=not plain,
        say=workspace.say,
    )
    report = generator_report(suite, scores)
    document = {"suite": suite.name, "world": of.version, **dataclasses.asdict(scores)}
    workspace.write("generator", report, document)
    sheets = generator_sheets(suite.generator)
    if not plain:
        sheets["factors"] = factor_sheet(suite.generator, of, jax.random.key(SEED))
        if "gaze" in of.factors:
            sheets["gaze"] = gaze_sheet(suite.generator, of, jax.random.key(SEED))
    for name, (images, columns) in sheets.items():
        write_png(workspace.folder / f"{name}.png", grid(images, columns))
    return Outcome(report)


def _world(suite: Suite, version: str | None, plain: bool) -> World:
    if version is None and "attributes" in suite:
        version = VERSION
    if version is None and "reconstruction" not in suite:
        raise UsageError(
            f"suite {suite.name!r} has no reconstruction network, which would tell the world that "
            "it is of: say it with --world"
        )
    try:
        of = suite_world(suite) if version is None else world_of(version)
    except ValueError as error:
        raise UsageError(f"--world: {error}") from error
    width = suite.generator.config.z_dim
    if not plain and width < of.num_factors:
        raise UsageError(
            f"the generator's z has {width} numbers and a scene of version {of.version} has "
            f"{of.num_factors} factors: with plain noise for z use --plain"
        )
    if "attributes" in suite and of.version != VERSION:
        raise UsageError(
            f"the suite's attributes network reads version {VERSION}, samples are compared with "
            f"renders of {of.version}: use --world {VERSION}"
        )
    return of
