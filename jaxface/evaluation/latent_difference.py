"""The table of the Latent Difference Encoder on renders of the embedded world, and by the truth.

Held-out renders are reconstructed with their own landmarks and redrawn with those of another, as in
Herrmann and Zengerle 2020. The table's six rows are the inversion alone and the five trainings of
the paper's ablation; the suite's own network and the perfect result stand beside them. A row whose
network is missing is left out, and the report says so.

``table`` has the paper's metrics by the suite's networks: Fréchet distances of reconstructions and
of manipulated portraits from the renders, the Hausdorff distance of drawn landmarks summed over
five groups, and the cosine of embeddings (CSIM). Of the authors' code three things are not
repeated: the distance of a keypoint encoder's reconstructions, which there rolls the keypoints too;
a code that hangs on its batch-mates, by batch statistics at test time; and faces that are compared
with a grey border around them.

``table_true`` has the truth's: the render of the same person with the other's rotation and
expression is the perfect edit. Wishes are "taken", the other's landmarks as they are, and "own",
normalised to the portrait's proportions: the difference is what identity leaks through landmarks.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.scene_items import item_keys, scene_items
from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.latent_difference_report import (
    OPEN,
    ROWS,
    SHOWN,
    latent_difference_report,
    write_latent_difference_sheet,
    write_redrawn_sheet,
)
from jaxface.evaluation.named_rows import named_suites
from jaxface.evaluation.outputs import Outcome, Workspace
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.reenactment_judges import (
    REQUIRED,
    frechet_features,
    judge_names,
    perceptual_distance,
)
from jaxface.losses import identity
from jaxface.media.images import from_uint8, to_uint8
from jaxface.media.landmark_images import group_of_colour, landmark_images
from jaxface.methods import encoder
from jaxface.methods.latent_difference.redrawing import (
    ROLES,
    Proportions,
    Redrawing,
    Seen,
    redraw,
    redrawing_of,
    see,
    wished,
)
from jaxface.methods.pie.editing import Target, apply_edits, editing_networks
from jaxface.metrics import frechet_distance, nme, psnr
from jaxface.metrics.hausdorff import hausdorff_by_group
from jaxface.morphable import (
    FaceParameters,
    Scene,
    landmarks,
    render,
    scene_from_gaussian,
)
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.runtime.chunks import by_chunks
from jaxface.runtime.progress import Pace
from jaxface.suite import Suite, identity_network

SEED = 50_000_017
"""Of the renders; no training and no other evaluation uses it."""

CHUNK = 16

HAUSDORFF_SIDE = 128
"""Pixels per side at which landmarks are drawn to be compared, the paper's: in smaller images the
lines of a closed eye have no pixel that they cover whole."""

WISHES: tuple[Proportions, ...] = ("taken", "own")
"""Whose proportions the wished landmarks have."""


def row_suites(suite: Suite, named: str | None) -> dict[str, Suite]:
    """The suite that each row is measured with, in the report's order.

    Args:
      suite: has what judges, and the networks of rows that are not named.
      named: comma-separated ROW=DIR: folders whose networks take the place of the suite's in a row.

    Raises:
      UsageError: no such row, or one without a folder.
    """
    found: dict[str, Suite] = dict.fromkeys(OPEN, suite)
    if "latent_difference" in suite:
        found["suite"] = suite
    own = named_suites(suite, named, [row for row in ROWS if row not in OPEN])
    for each in own.values():
        each.require(ROLES)
    found |= own
    return {row: found[row] for row in ROWS if row in found}


def portraits(count: int, size: int) -> dict[str, Any]:
    """Held-out renders, and their perfect edits: item i is to look like item i - 1.

    Returns:
      ``image`` and ``perfect``, uint8 [N, R, R, 3]; ``face`` and ``wanted``, [N, 257]; ``true``,
      the landmarks of the perfect edits, and ``other``, those of the other's render, [N, 68, 2].
    """

    def rendered(numbers: jax.Array) -> dict[str, jax.Array]:
        return scene_items(item_keys(SEED, "test", numbers), size, version="2.0.0")

    def edited(scenes: Scene) -> jax.Array:
        return to_uint8(jnp.clip(render(scenes, size), -1, 1))

    whole = by_chunks(rendered, jnp.arange(count), size=CHUNK)
    face = FaceParameters.from_flat(jnp.asarray(whole["face"]))
    other = FaceParameters.from_flat(jnp.roll(face.flat, 1, axis=0))
    wanted = dataclasses.replace(face, rotation=other.rotation, expression=other.expression)
    nuisance = scene_from_gaussian(jnp.asarray(whole["factors"])).nuisance
    return {
        "image": whole["image"],
        "perfect": by_chunks(edited, Scene(wanted, nuisance), size=CHUNK),
        "face": np.asarray(face.flat),
        "wanted": np.asarray(wanted.flat),
        "true": np.asarray(landmarks(wanted, size)),
        "other": np.roll(np.asarray(landmarks(face, size)), 1, axis=0),
    }


def measured_row(
    row: str, suite: Suite, judging: Suite, known: Mapping[str, Any], inversion: encoder.Settings
) -> dict[str, np.ndarray]:
    """A row's portraits, drawn and judged.

    Args:
      row: out of `ROWS`.
      suite: of the row.
      judging: whose networks judge.
      known: of `portraits`.
      inversion: how they are embedded.

    Returns:
      Arrays by name: ``features_*`` for the Fréchet distances, ``hausdorff`` [N] (NaN where a group
      has no pixel), ``csim`` [N], ``<measure>_<wish>`` [N] by the truth, and uint8 images.
    """
    networks = inversion.networks(suite, jax.random.key(0))
    redrawing = None if row in OPEN else redrawing_of(suite)

    def judged(part: Mapping[str, Any], other: np.ndarray) -> dict[str, Any]:
        return _judged(judging, part, _drawn(row, networks, redrawing, part, other, inversion))

    others = np.roll(known["image"], 1, axis=0)
    return by_chunks(judged, dict(known), others, size=CHUNK)


def _drawn(
    row: str,
    networks: encoder.Networks,
    redrawing: Redrawing | None,
    part: Mapping[str, Any],
    other: np.ndarray,
    inversion: encoder.Settings,
) -> dict[str, np.ndarray]:
    """Images in [-1, 1] by name: ``own`` (landmarks of its own), ``taken`` and ``normal``."""
    images, others = (from_uint8(jnp.asarray(each)) for each in (part["image"], other))
    inverted = _inverted(inversion, networks, images)
    if row == "perfect":
        perfect = from_uint8(part["perfect"])
        return {"inverted": inverted[1], "own": images, "taken": perfect, "normal": perfect}
    if redrawing is None:
        return dict.fromkeys(("inverted", "own", "taken", "normal"), inverted[1])
    found = _redrawn(redrawing, networks.generator, inverted[0], images, others)
    return {"inverted": inverted[1], **found}


@jax.jit
def _redrawn(
    redrawing: Redrawing, generator: Any, w_plus: jax.Array, images: jax.Array, others: jax.Array
) -> dict[str, jax.Array]:
    own: Seen = see(redrawing, images)
    other: Seen = see(redrawing, others)
    size = generator.resolution
    points = {
        "own": own.points,
        "taken": wished(redrawing, own, other, size, proportions="taken"),
        "normal": wished(redrawing, own, other, size, proportions="own"),
    }
    return {
        name: _eight_bits(
            redraw(redrawing, generator, w_plus, each, noise="const", portraits=images)[1]
        )
        for name, each in points.items()
    }


def _eight_bits(images: jax.Array) -> jax.Array:
    return from_uint8(to_uint8(jnp.clip(images, -1, 1)))


def _invert(
    inversion: encoder.Settings, networks: encoder.Networks, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
    w_plus = encoder.encode(inversion, networks, images)
    return w_plus, _eight_bits(networks.generator.synthesis(w_plus, "const"))


_inverted = jax.jit(_invert, static_argnums=0)


def _judged(judging: Suite, part: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Of a chunk; see `measured_row`."""
    images = from_uint8(jnp.asarray(part["image"]))
    perfect = from_uint8(jnp.asarray(part["perfect"]))
    person = identity_network(judging)
    size = images.shape[1]
    wanted = FaceParameters.from_flat(jnp.asarray(part["wanted"]))
    source = _embeddings(person, images)
    inverted = identity.similarity(_embeddings(person, drawn["inverted"]), source)
    found: dict[str, Any] = {
        "features_real": frechet_features(judging, images),
        "features_reconstruction": frechet_features(judging, drawn["own"]),
        "features_manipulation": frechet_features(judging, drawn["taken"]),
        "csim": identity.similarity(_embeddings(person, drawn["taken"]), source),
        "csim_inversion": inverted,
        "source": part["image"],
        "perfect": part["perfect"],
    }
    read = {name: _points(judging.landmarks, drawn[name]) for name in ("taken", "normal")}
    found["hausdorff"] = _hausdorff(part["other"], np.asarray(read["taken"]), size)
    goals = {"taken": part["other"], "own": part["true"]}
    for wish in WISHES:
        name = "normal" if wish == "own" else "taken"
        result = drawn[name]
        seen = _face(judging.reconstruction, result)
        embeddings = _embeddings(person, result)
        goal = jnp.asarray(goals[wish])
        found |= {
            f"landmarks_{wish}": 100 * nme(read[name], goal, normaliser="box"),
            f"rotation_{wish}": rotation_angle(seen.rotation, wanted.rotation),
            f"csim_{wish}": identity.similarity(embeddings, _embeddings(person, perfect)),
            f"kept_{wish}": identity.similarity(embeddings, source),
            f"perceptual_{wish}": perceptual_distance(judging, result, perfect),
            f"psnr_{wish}": jnp.minimum(psnr(result, perfect), 66.0),
            f"drawn_{wish}": to_uint8(result),
        }
    return found


def _hausdorff(wanted: np.ndarray, read: np.ndarray, size: int) -> np.ndarray:
    """Summed over groups, [N]; NaN where a group has no pixel of exactly its colour."""
    scale = HAUSDORFF_SIDE / size
    pairs = [np.asarray(_lines(jnp.asarray(each * scale))) for each in (wanted, read)]
    found = []
    for ours, theirs in zip(*pairs, strict=True):
        groups = hausdorff_by_group(group_of_colour(ours), group_of_colour(theirs))
        found.append(np.nan if groups is None else sum(groups.values()))
    return np.array(found)


@jax.jit
def _lines(points: jax.Array) -> jax.Array:
    return landmark_images(points, HAUSDORFF_SIDE)


@jax.jit
def _embeddings(network: Any, images: jax.Array) -> jax.Array:
    return portrait_embeddings(network, images)


@jax.jit
def _points(network: Any, images: jax.Array) -> jax.Array:
    return network(images)


@jax.jit
def _face(network: Any, images: jax.Array) -> FaceParameters:
    return FaceParameters.from_flat(network(images))


def table_row(measured: Mapping[str, np.ndarray]) -> dict[str, float]:
    """A row of ``table``: the paper's metrics."""
    real = measured["features_real"]
    return {
        "fid_reconstruction": frechet_distance(measured["features_reconstruction"], real),
        "fid_manipulation": frechet_distance(measured["features_manipulation"], real),
        "hausdorff": float(np.nanmean(measured["hausdorff"])),
        "hausdorff_failed": float(np.isnan(measured["hausdorff"]).sum()),
        "csim": float(measured["csim"].mean()),
    }


def true_row(measured: Mapping[str, np.ndarray]) -> dict[str, float]:
    """A row of ``table_true``: means, for both kinds of wishes."""
    found = {}
    for wish in WISHES:
        for name in ("landmarks", "rotation", "csim", "perceptual", "psnr"):
            found[f"{name}_{wish}"] = float(measured[f"{name}_{wish}"].mean())
        kept = measured[f"kept_{wish}"].mean() / measured["csim_inversion"].mean()
        found[f"identity_{wish}"] = float(kept)
    return found


def encoders_compared(suite: Suite, known: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The suite's encoders beside each other: pixels, perceptual distance and identity.

    Returns:
      By role, ``l2``, ``perceptual`` and ``identity`` (cosine); and ``editability``, the share of a
      yaw of 20 degrees that a RigNet's edit of the pose reaches by the reconstruction network,
      where the suite has one.
    """
    found = {}
    for kind in ("any", "in_domain"):
        settings = encoder.Settings(kind)
        if settings.role not in suite:
            continue
        networks = settings.networks(suite, jax.random.key(0))
        parts = []
        for first in range(0, len(known["image"]) // CHUNK * CHUNK, CHUNK):
            images = from_uint8(jnp.asarray(known["image"][first : first + CHUNK]))
            w_plus, drawn = _inverted(settings, networks, images)
            person = identity_network(suite)
            parts.append(
                {
                    "l2": jnp.mean(jnp.square(drawn - images), axis=(1, 2, 3)),
                    "perceptual": perceptual_distance(suite, drawn, images),
                    "identity": identity.similarity(
                        _embeddings(person, drawn), _embeddings(person, images)
                    ),
                    **_edited(suite, w_plus),
                }
            )
        found[settings.role] = {
            name: float(np.mean(np.concatenate([part[name] for part in parts])))
            for name in parts[0]
        }
    return found


def wishes_measured(suite: Suite, known: Mapping[str, Any]) -> dict[str, float]:
    """By how much the wished landmarks themselves differ from the true ones, of `WISHES`: percent
    of the face, as in ``table_true``. Wishes are made of landmarks and faces that are read."""
    redrawing, size = redrawing_of(suite), suite.generator.resolution
    goals = {"taken": known["other"], "own": known["true"]}
    found: dict[str, list[np.ndarray]] = {wish: [] for wish in WISHES}
    for first in range(0, len(known["image"]), CHUNK):
        rows = np.arange(first, min(first + CHUNK, len(known["image"])))
        own, other = (
            _seen(redrawing, from_uint8(jnp.asarray(known["image"][each])))
            for each in (rows, rows - 1)
        )
        for wish in WISHES:
            points = wished(redrawing, own, other, size, proportions=wish)
            error = nme(points, jnp.asarray(goals[wish][rows]), normaliser="box")
            found[wish].append(100 * np.asarray(error))
    return {wish: float(np.concatenate(each).mean()) for wish, each in found.items()}


EDIT_YAW = 20.0
"""Degrees that codes are turned by, to see how editable they are."""


def _edited(suite: Suite, w_plus: jax.Array) -> dict[str, jax.Array]:
    if "rignet_pose" not in suite:
        return {}
    own = {"pose": editing_networks(suite, "pose")}
    values = jnp.zeros((len(w_plus), 6)).at[:, 1].set(np.deg2rad(EDIT_YAW))
    target = Target(values, jnp.ones(6, bool), jnp.ones(()))
    edit = _turned(own, w_plus, {"pose": target})["pose"]
    turned = edit.after.rotation[:, 1] - edit.before.rotation[:, 1]
    return {"editability": jnp.rad2deg(turned) / EDIT_YAW}


@jax.jit
def _turned(own: Any, w_plus: jax.Array, targets: Any) -> Any:
    return apply_edits(own, w_plus, targets, feedback=0, noise="const")


OPENED, RAISED = 0.12, 0.07
"""How far lower lip and chin, and brows, are moved by hand, in shares of the face's height."""


def edited_by_hand(points: np.ndarray) -> dict[str, np.ndarray]:
    """Landmarks with the mouth opened, and with the brow at the image's left raised, [68, 2]."""
    height = np.ptp(points[:, 1])
    opened, raised = points.copy(), points.copy()
    opened[[*range(55, 60), 65, 66, 67], 1] += OPENED * height  # the lower lip
    opened[4:13, 1] += 0.6 * OPENED * height  # the chin follows
    raised[17:22, 1] -= RAISED * height
    return {"mouth opened": opened, "brow raised": raised}


def spread(points: np.ndarray) -> dict[str, np.ndarray]:
    """What `edited_by_hand` changes, of landmarks [N, 68, 2]: how far the lips are apart, and the
    brow at the image's left from its eye, [N] in pixels."""
    down = points[..., 1]
    eye = down[:, [36, 37, 38, 39, 40, 41]].mean(axis=1)
    return {
        "mouth opened": down[:, 65:68].mean(axis=1) - down[:, 61:64].mean(axis=1),
        "brow raised": eye - down[:, 17:22].mean(axis=1),
    }


def followed(suite: Suite, known: Mapping[str, Any]) -> dict[str, float]:
    """The share of an edit by hand that is read in what is redrawn.

    Each portrait is redrawn with its own landmarks and with those of `edited_by_hand`, and `spread`
    is read in both: the sum of the changes over the sum of the wished ones.
    """
    inversion = encoder.Settings()
    networks, redrawing = inversion.networks(suite, jax.random.key(0)), redrawing_of(suite)
    reached: dict[str, list[np.ndarray]] = {"mouth opened": [], "brow raised": []}
    wanted: dict[str, list[np.ndarray]] = {name: [] for name in reached}
    for first in range(0, len(known["image"]) // CHUNK * CHUNK, CHUNK):
        images = from_uint8(jnp.asarray(known["image"][first : first + CHUNK]))
        w_plus, _ = _inverted(inversion, networks, images)
        own = np.asarray(_seen(redrawing, images).points)
        by_hand = [edited_by_hand(points) for points in own]

        def read(points: np.ndarray, w_plus: Any = w_plus) -> dict[str, np.ndarray]:
            drawn = _redraw(redrawing, networks.generator, w_plus, jnp.asarray(points))
            return spread(np.asarray(_points(redrawing.landmarks, _eight_bits(drawn))))

        before, asked = read(own), spread(own)
        for name in reached:
            wished_points = np.stack([each[name] for each in by_hand])
            reached[name].append(read(wished_points)[name] - before[name])
            wanted[name].append(spread(wished_points)[name] - asked[name])
    return {
        name: float(np.concatenate(reached[name]).sum() / np.concatenate(wanted[name]).sum())
        for name in reached
    }


def redrawn(suite: Suite, known: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
    """The first portraits redrawn by landmark images, for the sheet.

    Args:
      suite: has a ``latent_difference``.
      known: of `portraits`.
      count: how many.

    Returns:
      Title to uint8 [count, R, R, 3]: of each kind of wish the landmark image and what is drawn.
    """
    inversion = encoder.Settings()
    networks, redrawing = inversion.networks(suite, jax.random.key(0)), redrawing_of(suite)
    images, others = (
        from_uint8(jnp.asarray(known["image"][rows]))
        for rows in (np.arange(count), np.arange(count) - 1)
    )
    w_plus, inverted = _inverted(inversion, networks, images)
    own, other = see(redrawing, images), see(redrawing, others)
    size = suite.generator.resolution
    by_hand = [edited_by_hand(np.asarray(points)) for points in own.points]
    wishes = {
        "own": own.points,
        "another's": wished(redrawing, own, other, size, proportions="own"),
        **{name: jnp.asarray(np.stack([each[name] for each in by_hand])) for name in by_hand[0]},
    }
    shown = {"portrait": known["image"][:count], "inversion": np.asarray(to_uint8(inverted))}
    for name, points in wishes.items():
        shown[f"{name}: lines"] = np.asarray(to_uint8(landmark_images(points, size)))
        drawn = _redraw(redrawing, networks.generator, w_plus, points)
        shown[name] = np.asarray(to_uint8(jnp.clip(drawn, -1, 1)))
    return shown


@jax.jit
def _seen(redrawing: Redrawing, images: jax.Array) -> Seen:
    return see(redrawing, images)


@jax.jit
def _redraw(redrawing: Redrawing, generator: Any, w_plus: Any, points: jax.Array) -> jax.Array:
    return redraw(redrawing, generator, w_plus, points, noise="const")[1]


def run(suite: Suite, workspace: Workspace, *, portraits: int, rows: str | None) -> Outcome:
    """The experiment of `jaxface evaluate latent_difference`.

    Parts that a stopped run finished are not done again.

    Args:
      suite: has a generator, an encoder and what judges; its ``latent_difference`` is the row
        ``suite``.
      workspace: receives ``latent_difference.md`` and ``.json``, two sheets and ``parts/``.
      portraits: held-out renders, each redrawn with the landmarks of the one before it.
      rows: see `row_suites`.

    Raises:
      UsageError: no such row, or a folder that was begun with another description.
      SuiteError: the suite lacks a network.
    """
    suite.require({**REQUIRED, "encoder": "It encodes", "generator": "It draws"})
    suites, inversion = row_suites(suite, rows), encoder.Settings()
    decided = {
        "evaluation": "latent_difference",
        "portraits": portraits,
        "seed": SEED,
        "rows": {
            row: {
                role: other.digest(role)
                for role in ("generator", "encoder", "latent_difference")
                if role in other and not (row in OPEN and role == "latent_difference")
            }
            for row, other in suites.items()
        },
        "judges": {
            role: suite.digest(role)
            for role in sorted({*REQUIRED, "recognition", "lpips", "inception"})
            if role in suite
        },
    }
    with workspace.claim(workspace.folder, json.loads(json.dumps(decided))):
        parts = Parts(workspace.folder / "parts")
        size = suite.generator.resolution
        known = parts.get("portraits", lambda: _told(workspace, portraits, size))
        pace = Pace(parts.missing(suites))
        measured = {}
        for row, own in suites.items():

            def make(row: str = row, own: Suite = own) -> dict[str, np.ndarray]:
                workspace.say(f"{ROWS[row]}: {pace.next()}")
                return measured_row(row, own, suite, known, inversion)

            measured[row] = parts.get(row, make)
        found = {
            "table": {row: table_row(each) for row, each in measured.items()},
            "table_true": {row: true_row(each) for row, each in measured.items()},
            "encoders": encoders_compared(suite, known),
        }
        if "suite" in suites:
            found["wishes"] = wishes_measured(suite, known)
        if "suite" in suites and portraits >= CHUNK:
            found["by_hand"] = followed(suite, known)
        report = latent_difference_report(suite, found, judge_names(suite), portraits)
        workspace.write("latent_difference", report, {**found, "description": decided})
        write_latent_difference_sheet(workspace.folder / "latent_difference.png", measured)
        if "suite" in suites:
            write_redrawn_sheet(
                workspace.folder / "redrawn.png", redrawn(suite, known, min(SHOWN, portraits))
            )
    return Outcome(report)


def _told(workspace: Workspace, count: int, size: int) -> dict[str, Any]:
    workspace.say(f"rendering {count} portraits and their perfect edits")
    return portraits(count, size)
