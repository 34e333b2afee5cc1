"""PIE's experiments on held-out portraits of the embedded world (Tewari et al. 2020, section 5).

Every portrait is inverted in six ways, the columns of the paper's Table 2, and every inverted
portrait is turned to poses that are known exactly. Two judges look at the edits: the suite's
networks, as in the paper, and the ground truth (`jaxface.evaluation.judges`). `run` is the whole
experiment, with the transfers of Table 3 (`jaxface.evaluation.pie_transfer`) and the report
(`jaxface.evaluation.pie_report`).

What is chosen here:

* Targets are absolute rotations: the portrait's true one turned by up to 0.4 rad, mostly in yaw, as
  the world's heads are. They go to `pie.edit` as numbers, so that nothing of the truth but the
  wanted rotation reaches the system.
* The editing error is the angle of the rotation between wanted and judged pose.
* The recognition error (`jaxface.evaluation.judges.recognition_error`) is of the edit and the
  portrait, as in the paper, or, for the truth, of the edit and a render of the same scene in the
  wanted pose, which is what a perfect edit shows.
* PSNR and SSIM are of the reconstruction against the portrait; both judges share them.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import SuiteError, UsageError
from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.held_out import SEED, Batch, Protocol, batches, held_out, rotation_target
from jaxface.evaluation.judges import judged_pose, recognition_error
from jaxface.evaluation.outputs import Outcome, Workspace
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.pie_report import pie_report, scatter_data, write_figures
from jaxface.evaluation.pie_together import edits_everything, evaluate_together
from jaxface.evaluation.pie_transfer import evaluate_transfers, table3
from jaxface.evaluation.suite_world import suite_world
from jaxface.keys import item_keys
from jaxface.media.images import from_uint8, to_uint8
from jaxface.media.plots import load_matplotlib
from jaxface.methods import image2stylegan, pie
from jaxface.metrics import psnr, ssim
from jaxface.runtime.devices import divisor_mesh
from jaxface.runtime.progress import Pace
from jaxface.solving.solver import Status
from jaxface.suite import Suite, identity_network


def columns(
    everything: pie.Settings = pie.EMBEDDED_ALL,
    other: pie.Settings = image2stylegan.PAPER,
    *,
    iterations: float = 1.0,
) -> dict[str, pie.Settings]:
    """The columns of Table 2 by name.

    Recognition is the term on the reconstruction and on its edits; modification is the identity,
    edit and invariance terms.

    Args:
      everything: settings with all terms.
      other: Image2StyleGAN's.
      iterations: factor of the numbers of steps and of the steps of a decay.
    """
    recognition = ("recognition", "edit_recognition")
    modification = ("identity", "edit", "invariance")
    settings = {
        "synthesis": pie.ablate(everything, *recognition, *modification),
        "synthesis_recognition": pie.ablate(everything, *modification),
        "synthesis_modification": pie.ablate(everything, *recognition),
        "all": everything,
        "all_direct": pie.without_w_stage(everything),
        "image2stylegan": other,
    }
    return {name: scaled(each, iterations) for name, each in settings.items()}


def scaled(settings: pie.Settings, factor: float) -> pie.Settings:
    """The settings with so many times the steps, and of its decay."""

    def scale(steps: int) -> int:
        return round(steps * factor) if steps == 0 else max(1, round(steps * factor))

    names = ("w_steps", "w_plus_steps", "decay_steps")
    return dataclasses.replace(settings, **{n: scale(getattr(settings, n)) for n in names})


COLUMNS = tuple(columns())


def evaluate_column(
    suite: Suite,
    name: str,
    settings: pie.Settings,
    batch: Batch,
    protocol: Protocol,
    *,
    bank: pie.Bank | None,
) -> dict[str, Any]:
    """Inverts a batch, edits the latents, and measures.

    Args:
      suite: see `evaluate_pie`.
      name: of the column; "all" is edited without feedback too.
      settings: the column's.
      batch: B portraits, E edits of each.
      protocol: how much.
      bank: precomputed samples of v, for settings with a bank and editing terms.

    Returns:
      Arrays by name, [B] of portraits or [B, E] of edits, images as uint8; "edited" of the first
      edit alone, "seconds" of the whole batch's mean.
    """
    ids = [f"portrait-{batch.start + i}" for i in range(protocol.batch_size)]
    inversion = pie.invert(
        suite,
        batch.images,
        keys=item_keys(jax.random.key(SEED), ids),
        settings=settings,
        bank=bank,
        mask=np.arange(protocol.batch_size) < batch.count,
        mesh=divisor_mesh(protocol.batch_size),
    )
    images = jnp.clip(jnp.asarray(inversion.images), -1.0, 1.0)
    w_plus = jnp.asarray(inversion.w_plus)
    measured: dict[str, Any] = {
        "w_plus": inversion.w_plus,
        "images": to_uint8(inversion.images),
        "finite": inversion.status != Status.DIVERGED,
        "psnr": psnr(images, batch.images),
        "ssim": ssim(images, batch.images),
        "seconds": np.asarray(inversion.seconds / batch.count),
    }
    edits: dict[str, list[Any]] = {}
    for index in range(protocol.edits):
        edited = _measure_edit(suite, batch, w_plus, index, feedback=1)
        if name == "all":
            first = _measure_edit(suite, batch, w_plus, index, feedback=0)
            names = ("network_error", "true_error")
            edited |= {f"{each}_without_feedback": first[each] for each in names}
        if index > 0:
            edited.pop("edited")  # one a portrait is enough to look at
        for key, value in edited.items():
            edits.setdefault(key, []).append(value)
    return measured | {key: np.stack(value, axis=1) for key, value in edits.items()}


def _measure_edit(
    suite: Suite, batch: Batch, w_plus: jax.Array, index: int, *, feedback: int
) -> dict[str, Any]:
    wanted, face = batch.rotations[:, index], batch.scenes.face
    edit = pie.edit(suite, w_plus, "pose", rotation_target(wanted), feedback=feedback)
    images = jnp.clip(edit.images, -1.0, 1.0)
    target = from_uint8(jnp.asarray(batch.targets[:, index]))
    turned = dataclasses.replace(face, rotation=wanted)
    region = suite_world(suite).parts().region
    fit = judged_pose(region, face, turned, edit.after, target, images)
    measured = {
        "size": rotation_angle(wanted, face.rotation),
        "network_error": rotation_angle(edit.after.rotation, wanted),
        "true_error": rotation_angle(fit.rotation, wanted),
        "true_residual": fit.residual,
        "edited_psnr": psnr(images, target),
        "edited_ssim": ssim(images, target),
        "edited": to_uint8(images),
    }
    if identity_network(suite) is not None:
        measured |= {
            "network_recognition": recognition_error(suite, images, batch.images),
            "true_recognition": recognition_error(suite, images, target),
        }
    return measured


def evaluate_pie(
    suite: Suite,
    protocol: Protocol,
    chosen: Mapping[str, pie.Settings],
    parts: Parts,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, np.ndarray]]:
    """Table 2's measures: arrays of N portraits, and E edits, by column.

    Args:
      suite: has the networks that the columns' terms need, a reconstruction network and the pose's
        RigNet.
      protocol: how much.
      chosen: settings by the column's name.
      parts: what is finished, and not done again.
      say: receives a line before each part.

    Returns:
      By column, and under "portraits" what does not depend on one.

    Raises:
      SuiteError: the suite lacks a network.
    """
    banks: dict[str, pie.Bank | None] = dict.fromkeys(chosen)
    collected: dict[str, list[dict[str, np.ndarray]]] = {"portraits": []}
    starts = range(0, protocol.portraits, protocol.batch_size)
    pace = Pace(parts.missing(_part(name, start) for name in chosen for start in starts))
    for batch in batches(suite, protocol, parts, say):
        collected["portraits"].append(
            {
                "images": np.asarray(to_uint8(batch.images))[: batch.count],
                "targets": batch.targets[: batch.count],
                "rotations": np.asarray(batch.rotations)[: batch.count],
                **{f"judge_{k}": v[: batch.count] for k, v in batch.judges.items()},
            }
        )
        for name, settings in chosen.items():

            def make(name=name, settings=settings, batch=batch) -> dict[str, Any]:
                last = batch.start + batch.count - 1
                place = f"portraits {batch.start} to {last} of {protocol.portraits}"
                say(f"{name}: {place}, {pace.next()}")
                if settings.bank and settings.editing_terms and banks[name] is None:
                    banks[name] = pie.draw_bank(suite, settings, jax.random.key(SEED + 1))
                return evaluate_column(suite, name, settings, batch, protocol, bank=banks[name])

            part = parts.get(_part(name, batch.start), make)
            seconds = part.pop("seconds")
            rows = {key: value[: batch.count] for key, value in part.items()}
            rows["seconds"] = np.full(batch.count, seconds)
            collected.setdefault(name, []).append(rows)
    return {
        name: {key: np.concatenate([part[key] for part in rows]) for key in rows[0]}
        for name, rows in collected.items()
    }


def _part(column: str, start: int) -> str:
    return f"{column}-{start:05d}"


def table2(measured: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Means of what `evaluate_pie` measured: ``table2``, ``table2_true``, ``feedback``, ``judges``.

    Portraits whose inversion diverged are left out, and counted.
    """
    network, true = {}, {}
    for name, arrays in measured.items():
        if name == "portraits":
            continue
        kept = arrays["finite"].astype(bool)
        mean = functools.partial(_mean, arrays, kept)
        shared = {"psnr": mean("psnr"), "ssim": mean("ssim")}
        counted = {"portraits": int(kept.sum()), "diverged": int((~kept).sum())}
        network[name] = shared | {
            "editing_error_rad": mean("network_error"),
            "recognition_error": mean("network_recognition"),
            **counted,
            "seconds_per_portrait": mean("seconds"),
        }
        true[name] = shared | {
            "editing_error_rad": mean("true_error"),
            "recognition_error": mean("true_recognition"),
            "residual": mean("true_residual"),
            "edited_psnr": mean("edited_psnr"),
            "edited_ssim": mean("edited_ssim"),
            **counted,
        }
    scores: dict[str, Any] = {"table2": network, "table2_true": true}
    scores["judges"] = {
        name: float(measured["portraits"][f"judge_{name}"].mean()) for name in ("network", "truth")
    }
    if "all" in measured:
        arrays = measured["all"]
        kept = arrays["finite"].astype(bool)
        scores["feedback"] = {
            judge: {
                "without": _mean(arrays, kept, f"{judge}_error_without_feedback"),
                "with": _mean(arrays, kept, f"{judge}_error"),
            }
            for judge in ("network", "true")
        }
    return scores


def _mean(arrays: Mapping[str, np.ndarray], kept: np.ndarray, name: str) -> float | None:
    """None where it was not measured, or of nothing."""
    if name not in arrays or not kept.any():
        return None
    return float(arrays[name][kept].mean())


def check_networks(suite: Suite, chosen: Mapping[str, pie.Settings]) -> None:
    """Insists on the networks that are needed, before hours of work.

    Raises:
      SuiteError: the suite lacks what the columns' terms or the edits need.
    """
    for settings in chosen.values():
        for role, term in pie.required_roles(settings).items():
            try:
                suite.metadata(role)
            except SuiteError as error:
                raise pie.missing(term, error) from error
    for role in ("reconstruction", "rignet_pose"):
        suite.metadata(role)


def description(
    suite: Suite, protocol: Protocol, chosen: Mapping[str, pie.Settings]
) -> dict[str, Any]:
    """Everything that decides the numbers, in JSON's types."""
    digests = {role: suite.digest(role) for role in sorted(suite.files)}
    settings = {name: dataclasses.asdict(each) for name, each in chosen.items()}
    return json.loads(
        json.dumps(
            {
                "evaluation": "pie",
                "protocol": dataclasses.asdict(protocol),
                "columns": settings,
                "seed": SEED,
                "suite": {"name": suite.name, **digests},
            }
        )
    )


def run(
    suite: Suite,
    workspace: Workspace,
    *,
    portraits: int,
    edits: int | None,
    full: bool,
    iterations: float,
    columns: str | None,
    batch_size: int,
) -> Outcome:
    """The experiment of `jaxface evaluate pie`: Tables 2 and 3, light, and Figure 13.

    Parts that a stopped run finished are not done again.

    Args:
      suite: see `evaluate_pie`.
      workspace: receives ``pie.md``, ``pie.json``, the figures and ``parts/``.
      portraits: held-out renders, >= 2.
      edits: of each one's pose, >= 1; None for 4.
      full: 25 edits, as the paper.
      iterations: factor of the numbers of steps, > 0.
      columns: comma-separated names of Table 2's columns; None for all.
      batch_size: portraits at a time, >= 1.

    Raises:
      UsageError: an unknown column, both `full` and `edits`, a suite of no embedded world, no
        matplotlib, or a folder that was begun with another description.
      SuiteError: the suite lacks a network.
    """
    if full and edits is not None:
        raise UsageError("--full and --edits both say how many edits")
    protocol = Protocol(
        portraits=portraits,
        edits=25 if full else edits or 4,
        iterations=iterations,
        batch_size=min(batch_size, portraits),
    )
    chosen = chosen_columns(columns, iterations=iterations)
    check_networks(suite, chosen)
    scenes, _ = held_out(protocol, suite_world(suite))
    load_matplotlib()  # or the figures would fail after hours of work
    decided = description(suite, protocol, chosen)
    folder, say = workspace.folder, workspace.say
    with workspace.claim(folder, decided):
        parts = Parts(folder / "parts")
        measured = evaluate_pie(suite, protocol, chosen, parts, say=say)
        transferred = "all" if "all" in measured else next(iter(chosen))
        transfers = evaluate_transfers(
            suite,
            protocol,
            scenes,
            measured["portraits"]["images"],
            measured[transferred]["w_plus"],
            parts=parts,
            say=say,
        )
        scores = table2(measured) | table3(transfers) | {"transferred": transferred}
        if edits_everything(suite):
            scores["together"] = evaluate_together(
                suite,
                protocol,
                scenes,
                measured[transferred]["w_plus"],
                parts=parts,
                say=say,
            )
        report = pie_report(suite, protocol, chosen, scores)
        document = decided | scores | {"figure13": scatter_data(measured)}
        workspace.write("pie", report, document)
        write_figures(folder, measured, transfers)
    return Outcome(report)


def chosen_columns(names: str | None, *, iterations: float) -> dict[str, pie.Settings]:
    """Some of `columns` by their comma-separated names, in the paper's order; None for all.

    Raises:
      UsageError: there is no such column.
    """
    known = columns(iterations=iterations)
    wanted = known if names is None else names.split(",")
    for name in wanted:
        if name not in known:
            raise UsageError(f"--columns: unknown {name!r}; known: {', '.join(known)}")
    return {name: settings for name, settings in known.items() if name in wanted}
