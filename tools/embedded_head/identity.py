"""Identity: principal components of sampled people, and the directions of what is known of them."""

from dataclasses import dataclass

import numpy as np

from tools.embedded_head.mesh import average_adult, to_head
from tools.embedded_head.source import Array, Assets

MODES, PEOPLE = 80, 1600
AXES = ("age", "male", "african", "asian", "weight")
_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "ears")
_OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
# The spread of a local target's weight, whose range is -1 to 1; several folders move a whole
# feature and would otherwise outweigh the finer ones.
_SPREAD = {"head": 0.28, "nose": 0.36, "eyes": 0.30, "mouth": 0.34, "ears": 0.30}
_SIDEWAYS = ("mouth-trans-out", "nose-trans-out")


@dataclass(frozen=True)
class People:
    """Sampled adults: their displacements from the average, and what they were sampled by."""

    displacement: Array  # [N, S, 3] of base mesh vertices `source`, head units
    axes: Array  # [N, 5] standardised


def _pairs(names: list[str]) -> list[tuple[str | None, str]]:
    """Targets with their opposites (less, more); a target of no opposite stands alone."""
    left, found = set(names), []
    for name in names:
        if name not in left:
            continue
        for less, more in _OPPOSITES:
            stem = name.removesuffix("-" + less)
            other = f"{stem}-{more}"
            if stem != name and other in left:
                found.append((name, other))
                left -= {name, other}
                break
    return found + [(None, name) for name in sorted(left)]


def _local_directions(assets: Assets) -> tuple[list[str], list[Array], list[Array], list[float]]:
    """Name, displacement towards less and more, and spread of every local motion."""
    names, less, more, spread = [], [], [], []
    for folder in _FOLDERS:
        for low, high in _pairs(assets.target_names(folder)):
            if folder == "head" and high.startswith("head-trans"):
                continue
            names.append(high)
            more.append(assets.target(folder, high))
            less.append(np.zeros_like(more[-1]) if low is None else assets.target(folder, low))
            share = 0.6 if low is None else 0.2 if high in _SIDEWAYS else 1.0
            spread.append(share * _SPREAD.get(folder, 0.32))
    for name in assets.target_names("asym"):
        if name.startswith("asymm-"):  # of the trunk
            continue
        names.append(name)
        more.append(assets.target("asym", name))
        less.append(np.zeros_like(more[-1]))
        spread.append(0.12)
    return names, less, more, spread


def _macro(assets: Assets, source: Array) -> dict[str, Array]:
    """The macro targets that adults are mixed from, at chosen vertices."""
    folder, found = "macrodetails", {}
    for gender in ("female", "male"):
        for age in ("young", "old"):
            for race in ("caucasian", "african", "asian"):
                name = f"{race}-{gender}-{age}"
                found[name] = assets.target(folder, name)[source]
            for weight in ("minweight", "averageweight", "maxweight"):
                name = f"universal-{gender}-{age}-averagemuscle-{weight}"
                found[name] = assets.target(folder, name)[source]
    return found


def sample_people(assets: Assets, source: Array, rng: np.random.Generator) -> People:
    """Adults from 25 to 90 by MakeHuman's axes and by its local targets of head and face."""
    macro = _macro(assets, source)
    names, less, more, spread = _local_directions(assets)
    place = {name: index for index, name in enumerate(names)}
    # Left and right go together but for a little.
    left = [i for i, name in enumerate(names) if name.startswith("l-")]
    right = [place["r-" + names[i][2:]] for i in left]
    less_at = np.stack([target[source] for target in less]).reshape(len(names), -1)
    more_at = np.stack([target[source] for target in more]).reshape(len(names), -1)
    base = average_adult(assets)[source]
    moved, axes = [], []
    for _ in range(PEOPLE):
        age = rng.beta(1.0, 2.2)
        male = float(np.clip(rng.choice([0.1, 0.9]) + 0.15 * rng.normal(), 0.0, 1.0))
        race = rng.dirichlet([0.6, 0.45, 0.45])
        weight = float(np.clip(0.35 * rng.normal(), -1.0, 1.0))
        shape = assets.vertices[source] * 1.0
        for gender, share in (("female", 1.0 - male), ("male", male)):
            for years, old in (("young", 1.0 - age), ("old", age)):
                for name, part in zip(("caucasian", "african", "asian"), race, strict=True):
                    shape += share * old * part * macro[f"{name}-{gender}-{years}"]
                builds = {"averageweight": 1.0 - abs(weight)}
                builds["maxweight" if weight > 0.0 else "minweight"] = abs(weight)
                for build, part in builds.items():
                    stem = f"universal-{gender}-{years}-averagemuscle-"
                    shape += share * old * part * macro[stem + build]
        amount = np.array(spread) * rng.normal(size=len(names))
        amount[right] = 0.97 * amount[left] + 0.24 * amount[right]
        amount = np.clip(amount, -0.9, 0.9)
        alone = np.abs(less_at).sum(axis=1) == 0.0
        amount = np.where(alone, np.abs(amount), amount)
        local = np.maximum(amount, 0.0) @ more_at + np.maximum(-amount, 0.0) @ less_at
        moved.append(to_head(shape + local.reshape(-1, 3)) - to_head(base))
        axes.append((age, male, race[1], race[2], weight))
    axes = np.array(axes)
    return People(np.array(moved), (axes - axes.mean(axis=0)) / axes.std(axis=0))


def aligned(people: People, base: Array, points: Array) -> Array:
    """Displacements [N, S, 3] after the similarity that best maps chosen points to the base's."""
    moved = []
    for displacement in people.displacement:
        shape = base + displacement
        here, there = shape[points], base[points]
        centre, target = here.mean(axis=0), there.mean(axis=0)
        u, sizes, vt = np.linalg.svd((there - target).T @ (here - centre))
        rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        scale = sizes.sum() / ((here - centre) ** 2).sum()
        moved.append((shape - centre) @ rotation.T * scale + target - base)
    moved = np.array(moved)
    return moved - moved.mean(axis=0)


def principal_modes(displacement: Array, mirror: Array) -> tuple[Array, Array, Array]:
    """Modes of people and of their mirror images, hence each symmetric or antisymmetric.

    Returns:
        modes [80, V, 3], orthonormal over stacked coordinates; deviations [80]; parities [80],
        1 for a symmetric mode and -1 for an antisymmetric one.
    """
    flipped = displacement[:, mirror] * np.array([-1.0, 1.0, 1.0])
    found = []
    for parity in (1.0, -1.0):
        half = 0.5 * (displacement + parity * flipped)
        flat = half.reshape(len(half), -1)
        variance, vectors = np.linalg.eigh(flat @ flat.T / len(flat))
        for index in np.argsort(-variance)[:MODES]:
            mode = vectors[:, index] @ flat
            norm = np.linalg.norm(mode)
            found.append((float(np.sqrt(max(variance[index], 0.0))), parity, mode / norm))
    found.sort(key=lambda item: -item[0])
    chosen = found[:MODES]
    modes = np.stack([mode for _, _, mode in chosen]).reshape(MODES, -1, 3)
    # The sign of a mode is free; this fixes it.
    sign = np.sign(modes.sum(axis=(1, 2)))
    sign[sign == 0.0] = 1.0
    deviations = np.array([deviation for deviation, _, _ in chosen])
    return modes * sign[:, None, None], deviations, np.array([parity for _, parity, _ in chosen])


def axis_directions(modes: Array, deviations: Array, displacement: Array, axes: Array) -> Array:
    """Identity, in deviations, per deviation of each of `AXES`: [5, 80], by regression."""
    flat = displacement.reshape(len(displacement), -1)
    coefficients = flat @ modes.reshape(MODES, -1).T / deviations
    return np.linalg.lstsq(axes, coefficients, rcond=None)[0]
