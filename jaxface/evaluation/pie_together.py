"""Several groups at once against one after another (PIE's second limitation, section 7).

Portrait i takes pose, expression and light of portrait j, the next one: in the order of the groups,
each edit from the latent of the one before (section 5.4), or in one step of all RigNets
(`jaxface.methods.pie.edit_together`), both with one round of feedback. A perfect edit is the render
of the same scene with these three of the other's.

* The network reads what was reached: the angle to the wanted rotation, the root mean square of what
  is left of the expression's coefficients, and the relative error of the light's.
* The truth: PSNR, SSIM and the recognition error of the edit against the perfect one.
* Seconds: of an edit of the batch once it is compiled, over its portraits.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.held_out import Protocol
from jaxface.evaluation.judges import recognition_error
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.suite_world import suite_world
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import pie
from jaxface.metrics import psnr, ssim
from jaxface.morphable import EDITABLE_GROUPS, Scene
from jaxface.suite import Suite, identity_network

WAYS = ("sequential", "together")
"""How several groups are edited."""

MEASURES = ("pose", "expression", "light", "psnr", "ssim", "recognition", "seconds")
"""Of each way, in the order of the report."""


def edits_everything(suite: Suite) -> bool:
    """Whether a suite has a RigNet of every group."""
    return all(f"rignet_{group}" in suite for group in EDITABLE_GROUPS)


def measure_batch(
    suite: Suite, scenes: Scene, drivers: Scene, w_plus: jax.Array
) -> dict[str, np.ndarray]:
    """Edits B portraits both ways.

    Args:
      suite: has a RigNet of every group.
      scenes: the portraits' true scenes.
      drivers: those that pose, expression and light are of.
      w_plus: latents of the inverted portraits, [B, L, w_dim].

    Returns:
      ``<way>_<measure>`` of [B].
    """
    wanted = scenes.face
    for group in EDITABLE_GROUPS:
        wanted = wanted.with_group(group, drivers.face)
    size = suite.generator.resolution
    render = suite_world(suite).render
    perfect = from_uint8(to_uint8(render(Scene(wanted, scenes.nuisance), size)))
    targets = dict.fromkeys(EDITABLE_GROUPS, wanted)
    measured: dict[str, np.ndarray] = {}
    for way in WAYS:

        def edit(way: str = way) -> pie.Edit:
            if way == "together":
                return pie.edit_together(suite, w_plus, targets)
            return list(pie.edit_groups(suite, w_plus, targets).values())[-1]

        jax.block_until_ready(edit().images)
        start = time.perf_counter()
        edited = edit()
        jax.block_until_ready(edited.images)
        seconds = (time.perf_counter() - start) / len(w_plus)
        images, after = jnp.clip(edited.images, -1.0, 1.0), edited.after
        light = wanted.illumination
        found = {
            "pose": rotation_angle(after.rotation, wanted.rotation),
            "expression": jnp.sqrt(((after.expression - wanted.expression) ** 2).mean(axis=1)),
            "light": jnp.linalg.norm(after.illumination - light, axis=1)
            / jnp.linalg.norm(light, axis=1),
            "psnr": psnr(images, perfect),
            "ssim": ssim(images, perfect),
            "seconds": np.full(len(w_plus), seconds),
        }
        if identity_network(suite) is not None:
            found["recognition"] = recognition_error(suite, images, perfect)
        measured |= {f"{way}_{name}": np.asarray(value) for name, value in found.items()}
    return measured


def evaluate_together(
    suite: Suite,
    protocol: Protocol,
    scenes: Scene,
    w_plus: np.ndarray,
    *,
    parts: Parts,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, float]]:
    """Means of `measure_batch` over all portraits, by way and measure.

    Args:
      suite: see `measure_batch`.
      protocol: its batch size.
      scenes: the portraits' true scenes, N.
      w_plus: latents of the inverted portraits, [N, L, w_dim].
      parts: what is finished, and not done again: ``together-<start>``.
      say: receives a line before each batch that is made.
    """
    total, size = len(w_plus), protocol.batch_size
    collected = []
    for start in range(0, total, size):
        rows = np.arange(start, start + size) % total

        def make(rows: np.ndarray = rows, start: int = start) -> dict[str, Any]:
            say(f"several groups at once: portraits from {start} of {total}")
            here, there = (
                jax.tree.map(lambda leaf, rows=each: leaf[rows], scenes)
                for each in (rows, (rows + 1) % total)
            )
            return measure_batch(suite, here, there, jnp.asarray(w_plus[rows]))

        part = parts.get(f"together-{start:05d}", make)
        collected.append({name: value[: total - start] for name, value in part.items()})
    return {
        way: {
            name: float(np.concatenate([part[f"{way}_{name}"] for part in collected]).mean())
            for name in MEASURES
            if f"{way}_{name}" in collected[0]
        }
        for way in WAYS
    }


_ROWS = (
    ("pose", "pose, rad, as it is read", ".4f"),
    ("expression", "expression, coefficients, as it is read", ".3f"),
    ("light", "light, relative, as it is read", ".3f"),
    ("psnr", "PSNR against a perfect edit, dB", ".2f"),
    ("ssim", "SSIM against a perfect edit", ".3f"),
    ("recognition", "recognition error against a perfect edit", ".4f"),
    ("seconds", "seconds an edit", ".4f"),
)


def together_report(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The report's lines in Markdown.

    Args:
      scores: of `evaluate_together`.
    """
    lines = [
        "## Pose, expression and light at once",
        "",
        "Each portrait takes all three of the next one, with one round of feedback.",
        "",
        "| | one after another | in one step |",
        "| --- | ---: | ---: |",
    ]
    for name, title, how in _ROWS:
        if name in scores[WAYS[0]]:
            cells = [format(scores[way][name], how) for way in WAYS]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return [*lines, ""]
