"""How the images that an avatar draws are judged: against the clip's frames, by the world's truth,
by whom they show, and by what edits do to them."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.judges import judged_pose
from jaxface.evaluation.pvp_avatars import held_out_rows
from jaxface.evaluation.pvp_protocol import YAWS, WorldClip, rendered, turned_scenes
from jaxface.evaluation.suite_world import suite_world
from jaxface.losses import identity
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods.pvp import Avatar, Edit
from jaxface.methods.pvp.personalise import see
from jaxface.methods.pvp.scores import image_scores
from jaxface.metrics import nme
from jaxface.morphable import FaceParameters, Scene
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.attributes import named_parameter
from jaxface.morphable.models import FaceModels
from jaxface.morphable.motion import Motion
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.runtime.chunks import by_chunks
from jaxface.suite import Suite, identity_network

EDITS = (Edit("expression", "smile", 2.0), Edit("pose", "yaw", 15.0))
"""Linear edits by which editability is measured (Figure 9)."""

SHOWN = 6


def shown_of(rows: np.ndarray) -> np.ndarray:
    """The few of a clip's rows that a sheet shows, evenly spaced."""
    return rows[:: max(1, len(rows) // SHOWN)][:SHOWN]


def scored(
    suite: Suite, clip: WorldClip, rows: np.ndarray, mattes: np.ndarray, drawn: np.ndarray
) -> dict[str, float]:
    """A row of ``table2`` and of ``table2_true``; `mattes` are the rows' [N, R, R]."""
    images = clip.images[rows]
    found = {name: v.mean() for name, v in image_scores(suite, drawn, images).items()}
    masked = image_scores(suite, drawn, images, matte=mattes)
    found |= {f"masked_{name}": value.mean() for name, value in masked.items()}
    scenes = jax.tree.map(lambda leaf: leaf[rows], clip.scenes)
    found |= {f"true_{name}": v.mean() for name, v in truth(suite, scenes, images, drawn).items()}
    return {name: float(value) for name, value in found.items()}


def truth(
    suite: Suite, scenes: Scene, images: np.ndarray, drawn: np.ndarray
) -> dict[str, np.ndarray]:
    """What the world says of drawn frames, [T]: the angle between the true rotation and that of the
    true face fitted to the image, radians; the landmarks that the suite finds, against the true
    ones, shares of the face's box, and the same of the true frames; and the angle that is read."""
    face, size, models = scenes.face, images.shape[1], suite_world(suite).parts()
    drawn = np.clip(np.asarray(drawn), -1, 1)
    targets = np.asarray(from_uint8(images))

    def judged(*rows: Any) -> dict[str, jax.Array]:
        return _truth(suite.reconstruction, suite.landmarks, models, *rows, size)

    return by_chunks(judged, face, targets, drawn, size=_CHUNK)


_CHUNK = 25


def _truth_terms(
    reader: Any,
    points: Any,
    models: FaceModels,
    face: FaceParameters,
    targets: Any,
    drawn: Any,
    size: int,
) -> dict[str, jax.Array]:
    read = FaceParameters.from_flat(reader(drawn))
    fit = judged_pose(models.region, face, face, read, targets, drawn)
    true = project_landmarks(models.landmarks, face, size)
    return {
        "rotation": rotation_angle(fit.rotation, face.rotation),
        "turn": rotation_angle(read.rotation, face.rotation),
        "landmarks": nme(points(drawn), true, normaliser="box"),
        "landmarks_floor": nme(points(targets), true, normaliser="box"),
    }


_truth = jax.jit(_truth_terms, static_argnums=6)


def poses(suite: Suite, avatar: Avatar, clip: WorldClip) -> dict[str, np.ndarray]:
    """Heads turned to `YAWS` (Figure 6): their true angle, and PSNR to a render of the person.

    The avatar is asked for the pose that the suite reads in the render: its reader's errors are no
    errors of the avatar."""
    mean = jnp.mean(clip.scenes.face.expression[avatar.training], axis=0)
    scenes = turned_scenes(clip.scenes, mean)
    images = rendered(scenes, clip.images.shape[1], suite_world(suite))
    asked = see(suite, images).motion
    still = avatar.posed(np.zeros(len(YAWS)), np.zeros(len(YAWS)))
    motion = dataclasses.replace(still, rotation=np.asarray(asked.rotation))
    drawn = avatar.drawn(motion)
    measured = truth(suite, scenes, images, drawn)
    outside = [bool({"yaw", "pitch"} & row.keys()) for row in avatar.outside(motion)]
    return {
        "rotation": measured["rotation"],
        "psnr": image_scores(suite, drawn, images)["psnr"],
        "outside": np.array(outside),
        "drawn": np.asarray(to_uint8(np.clip(drawn, -1, 1))),
        "renders": images,
    }


def likeness(
    suite: Suite, avatar: Avatar, clip: WorldClip, other: WorldClip, driver: Motion
) -> dict[str, Any]:
    """Identity of the avatar as another person's clip drives it.

    Cosines of the recognition network, less those of the two persons with each other (chance):
    ``kept`` is the share of what frames of the person's own clip have among themselves.
    """
    rows = held_out_rows(len(clip.images))
    drawn = avatar.drawn(avatar.own(driver[rows], clip=driver))
    network = identity_network(suite)
    own = _embeddings(network, clip.images[rows])
    reference = _embeddings(network, clip.images[avatar.training[:: max(1, len(own) // 50)]])
    theirs = _embeddings(network, other.images[rows])
    found = _embeddings(network, np.asarray(to_uint8(np.clip(drawn, -1, 1))))
    chance = float((theirs @ reference.T).mean())
    same, kept = float((own @ reference.T).mean()), float((found @ reference.T).mean())
    itself = avatar.own(avatar.clip, clip=avatar.clip)
    difference = max(
        float(np.abs(np.asarray(a) - np.asarray(b)).max())
        for a, b in zip(jax.tree.leaves(itself), jax.tree.leaves(avatar.clip), strict=True)
    )
    return {
        "cosine": kept,
        "same_person": same,
        "chance": chance,
        "kept": (kept - chance) / (same - chance),
        "by_itself": difference,
        "drawn": np.asarray(to_uint8(np.clip(shown_of(drawn), -1, 1))),
        "driver": shown_of(other.images[rows]),
    }


def _embeddings(network: Any, images: np.ndarray) -> np.ndarray:
    return by_chunks(functools.partial(_unit, network), images, size=_CHUNK)


@jax.jit
def _unit(network: Any, images: jax.Array) -> jax.Array:
    return identity.unit(portrait_embeddings(network, from_uint8(images)))


def edited(suite: Suite, avatar: Avatar, rows: np.ndarray) -> dict[str, float]:
    """What edits do to an avatar, as to the suite's generator (Figure 9).

    Of each of `EDITS` on held-out frames, means: ``identity``, the cosine of identity between
    edited and not; ``response``, by how much the reader sees the edited number move, as a share of
    what it sees with the suite's own generator at the same latents; ``drift``, by how much it sees
    all other numbers of pose and expression move, the root of the mean square, in deviations of
    the person's clip.
    """
    motion = avatar.clip[rows]
    network = identity_network(suite)
    known = {name: [] for name in ("identity", "response", "drift")}
    plain = dataclasses.replace(avatar, generator=suite.generator)
    scale = _numbers(avatar.clip).std(axis=0)
    scale = np.maximum(scale, _LEAST_DEVIATION * scale.max())
    for edit in EDITS:
        moved = []
        group, places = named_parameter(edit.name, avatar.clip.basis)
        at = np.array(places) + (0 if group == "pose" else 3)
        for who in (avatar, plain):
            pair = [
                np.asarray(to_uint8(np.clip(who.drawn(motion, edits=each), -1, 1)))
                for each in ((), (edit,))
            ]
            before, after = (_numbers(see(suite, images).motion) for images in pair)
            change = after - before
            moved.append(float(change[:, at].mean()))
            if who is avatar:
                first, second = (_embeddings(network, images) for images in pair)
                known["identity"].append(float((first * second).sum(axis=1).mean()))
                others = np.delete(change / scale, at, axis=1)
                known["drift"].append(float(np.sqrt(np.square(others).mean())))
        known["response"].append(moved[0] / moved[1])
    return {name: float(np.mean(values)) for name, values in known.items()}


def _numbers(motion: Motion) -> np.ndarray:
    """Rotation and expression of T frames, [T, 3 + E]."""
    return np.concatenate([np.asarray(motion.rotation), np.asarray(motion.expression)], axis=1)


_LEAST_DEVIATION = 0.1  # of the largest: a number that hardly moves is noise
