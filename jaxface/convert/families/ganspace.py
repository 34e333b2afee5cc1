"""GANSpace's components: ``stylegan2-ffhq_style_ipca_c80_n1000000_w.npz`` of its ``cache`` folder,
and the ``ffhq_pca.pt`` that encoder4editing and others made of it.

Both hold K components of the latents with their mean and standard deviations, under other names::

    lat_comp    comp    [K, 1, D]    vectors
    lat_stdev   std     [K]          units
    lat_mean    mean    [1, D]       mean

The ``.npz`` also holds the components of the features of the layer that was decomposed
(``act_comp``, ``act_mean``, ``act_stdev``), which only edits of features need, and statistics of
the fit.  It belongs to W where it was made so (``use_w``) and to Z otherwise, where
``decomposition.py`` stores standard deviations of exactly 1.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert.families.torch_layers import has_tensors
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.plan import NO_NETWORK, Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.convert.terms import FITTED
from jaxface.licences import Terms
from jaxface.nets.edits.linear_directions import DirectionsConfig

NETWORKS: tuple[str, ...] = ("components",)
TERMS: Mapping[str, Terms] = {"components": Terms("Apache-2.0", "unstated", f"the code; {FITTED}")}

# Ours to theirs, in the .npz and in the .pt.
NAMES = (
    {"vectors": "lat_comp", "units": "lat_stdev", "mean": "lat_mean"},
    {"vectors": "comp", "units": "std", "mean": "mean"},
)
IGNORED = {
    "act_comp": "a direction of features, not of latents",
    "act_mean": "a mean of features, not of latents",
    "act_stdev": "standard deviations of features, not of latents",
    "var_ratio": "statistics of the fit",
    "random_stdevs": "statistics of the fit",
}
# Of the components' lengths: they were divided by their lengths in float32.
UNIT_TOLERANCE = 1e-3


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return any(has_tensors(root, *names.values()) for names in NAMES)


def plan(root: Any, network: str) -> Plan:
    """How to convert the components.

    Raises:
        Refusal: if the shapes do not fit each other, a component is not of length 1, or a standard
            deviation is negative.
    """
    del network  # there is one
    (names,) = (names for names in NAMES if has_tensors(root, *names.values()))
    kept = {*names.values(), *IGNORED}
    arrays = {key: as_array(value, where=key) for key, value in root.items() if key in kept}
    vectors, units, mean = (arrays[names[ours]] for ours in ("vectors", "units", "mean"))
    count, dim = len(vectors) if vectors.ndim else 0, mean.size
    if vectors.shape not in ((count, 1, dim), (count, dim)) or units.shape != (count,) or not count:
        raise Refusal(
            f"the shapes of {', '.join(names.values())} are {list(vectors.shape)}, "
            f"{list(units.shape)} and {list(mean.shape)}, expected [K, 1, D], [K] and [1, D]"
        )
    lengths = np.linalg.norm(vectors.reshape(count, dim), axis=1)
    if not (np.abs(lengths - 1) <= UNIT_TOLERANCE).all():
        raise Refusal(f"{names['vectors']}: a component has length {lengths[lengths != 1][0]:.4g}")
    if not (units >= 0).all():
        raise Refusal(f"{names['units']}: a standard deviation is negative or NaN")
    in_z = names is NAMES[0] and bool((units == 1).all())
    labels = tuple(f"component_{index}" for index in range(count))
    return Plan(
        class_name="LatentDirections",
        config=make_config(DirectionsConfig, names=labels, dim=dim, space="z" if in_z else "w"),
        arrays=arrays,
        entries=(
            Entry(names["vectors"], "vectors", lambda x: x.reshape(count, 1, dim)),
            Entry(names["units"], "units"),
            Entry(names["mean"], "mean", np.ravel),
        ),
        ignored={key: reason for key, reason in IGNORED.items() if key in arrays},
        notes=(
            "lat_stdev is 1 everywhere: the components belong to Z"
            if in_z
            else "a strength of 1 moves a latent by one standard deviation",
        ),
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    del network
    known = {*IGNORED, *(key for names in NAMES for key in names.values())}
    return {str(key): NO_NETWORK for key in root if key not in known}
