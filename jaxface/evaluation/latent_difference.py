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

import json
from typing import Any

import numpy as np

from jaxface.evaluation.encoders import encoders_judged, means
from jaxface.evaluation.latent_difference_report import (
    OPEN,
    ROWS,
    SHOWN,
    latent_difference_report,
    write_encoders_sheet,
    write_latent_difference_sheet,
    write_redrawn_sheet,
)
from jaxface.evaluation.latent_difference_rows import (
    SEED,
    measured_row,
    portraits_known,
    table_row,
    true_row,
)
from jaxface.evaluation.latent_difference_wishes import followed, redrawn, wishes_measured
from jaxface.evaluation.named_rows import named_suites
from jaxface.evaluation.outputs import Outcome, Workspace
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.reenactment_judges import REQUIRED, judge_names
from jaxface.evaluation.suite_world import suite_world
from jaxface.methods import encoder
from jaxface.methods.latent_difference.redrawing import ROLES
from jaxface.runtime.progress import Pace
from jaxface.suite import Suite


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


def run(suite: Suite, workspace: Workspace, *, portraits: int, rows: str | None) -> Outcome:
    """The experiment of `jaxface evaluate latent_difference`.

    Parts that a stopped run finished are not done again.

    Args:
      suite: has a generator, an encoder and what judges; its ``latent_difference`` is the row
        ``suite``.
      workspace: receives ``latent_difference.md`` and ``.json``, three sheets and ``parts/``.
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
        known = parts.get("portraits", lambda: _told(workspace, portraits, suite))
        pace = Pace(parts.missing(suites))
        measured = {}
        for row, own in suites.items():

            def make(row: str = row, own: Suite = own) -> dict[str, np.ndarray]:
                workspace.say(f"{ROWS[row]}: {pace.next()}")
                return measured_row(row, own, suite, known, inversion)

            measured[row] = parts.get(row, make)
        workspace.say("comparing the suite's encoders")
        encoders = encoders_judged(suite, known["image"])
        found = {
            "table": {row: table_row(each) for row, each in measured.items()},
            "table_true": {row: true_row(each) for row, each in measured.items()},
            "encoders": means(encoders),
        }
        if "suite" in suites:
            found["wishes"] = wishes_measured(suite, known)
            found["by_hand"] = followed(suite, known)
        report = latent_difference_report(suite, found, judge_names(suite), portraits)
        workspace.write("latent_difference", report, {**found, "description": decided})
        write_latent_difference_sheet(workspace.folder / "latent_difference.png", measured)
        write_encoders_sheet(workspace.folder / "encoders.png", known["image"], encoders)
        if "suite" in suites:
            write_redrawn_sheet(
                workspace.folder / "redrawn.png", redrawn(suite, known, min(SHOWN, portraits))
            )
    return Outcome(report)


def _told(workspace: Workspace, count: int, suite: Suite) -> dict[str, Any]:
    workspace.say(f"rendering {count} portraits and their perfect edits")
    return portraits_known(count, suite.generator.resolution, suite_world(suite))
