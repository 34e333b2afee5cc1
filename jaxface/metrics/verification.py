"""Face verification: do two images show the same person? (NumPy.)

The protocol of Labeled Faces in the Wild, view 2 (Huang et al. 2007): pairs in ten folds whose
persons are disjoint, as many of the same person as of different ones; a fold is judged at the
threshold that suits the other nine best. And, as IJB reports it, the share of same pairs that is
accepted at a threshold which accepts a given share of the different ones.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Pairs(NamedTuple):
    """Pairs of items, each [P]."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    """Whether both are of one person."""
    fold: np.ndarray
    """0 to folds - 1."""


def verification_pairs(
    persons: Int[np.ndarray, " n"], *, each: int = 300, folds: int = 10, seed: int = 0
) -> Pairs:
    """Draws a verification test.

    Args:
      persons: [N] integers, who is on each image.
      each: pairs of the same person in each fold, and of different ones; fewer where a fold has not
        as many, then of both kinds. LFW has 300.
      folds: groups of persons, each of at least two persons and one person seen twice. LFW has 10.
      seed: of the draw.

    Raises:
      ValueError: a fold has no pair of a kind.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for fold, members in enumerate(np.array_split(rng.permutation(np.unique(persons)), folds)):
        items = np.flatnonzero(np.isin(persons, members))
        first, second = (items[side] for side in np.triu_indices(len(items), 1))
        same = persons[first] == persons[second]
        kinds = [np.flatnonzero(same), np.flatnonzero(~same)]
        count = min(each, *map(len, kinds))
        if count == 0:
            raise ValueError(
                f"verification_pairs: fold {fold} of {folds} has {len(members)} persons on "
                f"{len(items)} images, and no pair of one kind; use fewer folds."
            )
        drawn = np.concatenate([rng.choice(kind, count, replace=False) for kind in kinds])
        parts.append((first[drawn], second[drawn], same[drawn], np.full(len(drawn), fold)))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def verification_accuracy(
    similarity: Float[np.ndarray, " p"], same: Bool[np.ndarray, " p"], fold: Int[np.ndarray, " p"]
) -> Float[np.ndarray, " folds"]:
    """Share of a fold's pairs that are told right at the best threshold of the other folds.

    Args:
      similarity: [P], larger is more alike.
      same: [P] of bool.
      fold: [P] integers, at least two of them.

    Returns:
      One number for each fold, in their order; LFW reports the mean.

    Raises:
      ValueError: there is only one fold.
    """
    names = np.unique(fold)
    if len(names) < 2:
        raise ValueError("verification_accuracy: a threshold needs another fold; there is one.")
    found = []
    for name in names:
        here = fold == name
        threshold = _best_threshold(similarity[~here], same[~here])
        found.append(np.mean((similarity[here] > threshold) == same[here]))
    return np.array(found)


def true_accept_rate(
    similarity: Float[np.ndarray, " p"], same: Bool[np.ndarray, " p"], *, far: float
) -> float:
    """Share of the same pairs above the lowest threshold that accepts at most `far` of the others.

    Args:
      similarity: [P], larger is more alike.
      same: [P] of bool; with fewer than 1 / far different pairs, none of them is accepted.
      far: the false accept rate, e.g. 1e-3.

    Raises:
      ValueError: there is no pair of one kind.
    """
    others = np.sort(similarity[~same])[::-1]
    if len(others) in (0, len(same)):
        raise ValueError("true_accept_rate: needs pairs of the same and of different persons.")
    threshold = others[min(int(far * len(others)), len(others) - 1)]
    return float(np.mean(similarity[same] > threshold))


def _best_threshold(similarity: np.ndarray, same: np.ndarray) -> float:
    """Half-way between two similarities, where most pairs are told right."""
    order = np.argsort(similarity, kind="stable")
    ordered = similarity[order]
    # Right with the lowest k pairs rejected, k = 0 ... P.
    right = np.concatenate([[0], np.cumsum(~same[order])]) + np.concatenate(
        [np.cumsum(same[order][::-1])[::-1], [0]]
    )
    edges = np.concatenate([[ordered[0] - 1.0], ordered, [ordered[-1] + 1.0]])
    k = int(np.argmax(right))
    return float((edges[k] + edges[k + 1]) / 2)
