"""Means of what the judges gave, and how far networks and truth agree; see `scores`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxface.evaluation.reenactment_protocol import (
    CORRELATED,
    CORRELATED_WITH,
    EXTREME,
    NEAR,
    TRUE_MEASURES,
)
from jaxface.metrics import frechet_distance
from jaxface.metrics.reenactment import rank_correlation

FEWEST_FOR_FID = 2  # frames of which covariances are taken

TARGETS: Mapping[str, tuple[str, str, float]] = {
    "turn": ("rotation of the result against the driver's, rad", "at most", 0.05),
    "rotation": ("the same of the face fitted to it, rad", "at most", 0.05),
    "landmarks": ("landmarks of the known identity, % of the face", "at most", 2.2),
    "identity_kept": ("identity, share of the reconstruction's", "at least", 0.95),
}
"""What a cross-reenactment is to reach over frames of `NEAR` turns: title, kind of limit, limit."""

BESIDE: Mapping[str, str] = {
    "identity_still": "CSIM of the reconstruction to the source",
    "identity_perfect": "CSIM of the perfect result to the source",
}
"""What tells how far a share of identity can be had."""

Clips = Sequence[Mapping[str, np.ndarray]]


def near_means(clips: Clips) -> dict[str, float | int]:
    """Means of `TARGETS` and `BESIDE` over all frames that turn up to `NEAR`, and ``frames``."""
    near = np.concatenate([np.deg2rad(clip["turns"]) <= NEAR for clip in clips])
    found: dict[str, float | int] = {"frames": int(near.sum())}
    for name in (*TARGETS, *BESIDE):
        judge = "network" if f"network_{name}" in clips[0] else "truth"
        values = np.concatenate([clip[f"{judge}_{name}"] for clip in clips])
        found[name] = float(np.nanmean(values[near])) if near.any() else float("nan")
    return found


def scores(measured: Mapping[str, Clips]) -> dict[str, Any]:
    """Means of what `evaluate_method` measured of one method.

    Returns:
      ``self``, ``cross``, ``self_true`` and ``cross_true``: the measures' means over a clip's
      frames and then over clips, ``extreme``: the same of frames beyond `EXTREME`, and how many
      ``frames`` these are; ``judge_correlation``: of each network judge, by case, Spearman's rank
      correlation with the truth over all frames; ``reached``: `near_means` of the cross case.
    """
    found: dict[str, Any] = {"judge_correlation": {}}
    for case, clips in measured.items():
        for judge, suffix in (("network", ""), ("truth", "_true")):
            everything = _means(clips, judge, None)
            everything["extreme"] = _means(clips, judge, EXTREME)
            found[case + suffix] = everything
        found["judge_correlation"][case] = _correlations(clips)
    if "cross" in measured:
        found["reached"] = near_means(measured["cross"])
    return found


def _means(clips: Clips, judge: str, beyond: float | None) -> dict[str, Any]:
    """Of frames that are turned further than that, or of all."""
    prefix, means = f"{judge}_", {}
    chosen = [
        np.ones(len(clip["turns"]), bool) if beyond is None else clip["turns"] > beyond
        for clip in clips
    ]
    for name in (key for key in clips[0] if key.startswith(prefix)):
        rows = []
        for clip, kept in zip(clips, chosen, strict=True):
            value = clip[name]
            # Of measures between frames, those whose first frame counts.
            part = value[kept[: len(value)]]
            part = part[np.isfinite(part)]
            rows += [part.mean()] if len(part) else []
        means[name.removeprefix(prefix)] = float(np.mean(rows)) if rows else None
    means["fid"] = _fid(clips, chosen, judge)
    means["frames"] = int(sum(kept.sum() for kept in chosen))
    return means


def _fid(clips: Clips, chosen: Sequence[np.ndarray], judge: str) -> float | None:
    """Between results and, for the truth, perfect ones; else driving frames, or sources."""
    results = np.concatenate([c["features"][kept] for c, kept in zip(clips, chosen, strict=True)])
    if judge == "truth":
        others = [c["perfect_features"][kept] for c, kept in zip(clips, chosen, strict=True)]
    elif "network_perceptual" in clips[0]:  # self
        others = [c["driving_features"][kept] for c, kept in zip(clips, chosen, strict=True)]
    else:
        others = [clip["source_features"] for clip in clips]
    against = np.concatenate(others)
    if min(len(results), len(against)) < FEWEST_FOR_FID:
        return None
    return frechet_distance(results, against)


def _correlations(clips: Clips) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in CORRELATED:
        against = CORRELATED_WITH.get(name, name)
        if f"network_{name}" not in clips[0]:
            continue
        pairs = [(clip[f"network_{name}"], clip[f"truth_{against}"]) for clip in clips]
        mine, true = (np.concatenate([pair[i] for pair in pairs]) for i in (0, 1))
        # What is better when lower stands against what is better when higher: turned.
        turned = -1.0 if name == "expression" and TRUE_MEASURES[against].better == "higher" else 1.0
        value = rank_correlation(mine, turned * true)
        found[name] = value if np.isfinite(value) else None
    return found
