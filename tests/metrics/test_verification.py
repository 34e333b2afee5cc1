"""Verification: the draw of pairs, thresholds by other folds, rates at a rate."""

import numpy as np
import pytest

from jaxface.metrics.verification import (
    true_accept_rate,
    verification_accuracy,
    verification_pairs,
)

PERSONS = np.repeat(np.arange(40), 5)


def test_pairs_are_balanced_and_folds_share_no_person():
    pairs = verification_pairs(PERSONS, each=30, folds=10)
    assert (pairs.same == (PERSONS[pairs.first] == PERSONS[pairs.second])).all()
    assert (pairs.first != pairs.second).all()
    seen = [set(PERSONS[side[pairs.fold == k]]) for k in range(10) for side in pairs[:2]]
    for k in range(10):
        in_fold = pairs.fold == k
        assert pairs.same[in_fold].sum() == (~pairs.same)[in_fold].sum() == 30
        others = set().union(*(seen[2 * j] | seen[2 * j + 1] for j in range(10) if j != k))
        assert not (seen[2 * k] | seen[2 * k + 1]) & others
        drawn = set(zip(pairs.first[in_fold], pairs.second[in_fold], strict=True))
        assert len(drawn) == 60  # none twice
    again = verification_pairs(PERSONS, each=30, folds=10)
    np.testing.assert_array_equal(again.first, pairs.first)
    other = verification_pairs(PERSONS, each=30, folds=10, seed=1)
    assert not np.array_equal(other.first, pairs.first)


def test_fewer_pairs_where_there_are_no_more():
    pairs = verification_pairs(np.repeat(np.arange(4), 3), folds=2)
    # Two persons a fold: 2 * 3 same pairs and 9 different ones.
    assert np.bincount(pairs.fold).tolist() == [12, 12]
    with pytest.raises(ValueError, match="fewer folds"):
        verification_pairs(np.repeat(np.arange(4), 3), folds=4)
    with pytest.raises(ValueError, match="fewer folds"):
        verification_pairs(np.arange(8), folds=2)


def test_each_fold_is_judged_by_the_others():
    # Fold 0 alone would be told apart at 0.3 without an error, the other one at 0.7.
    similarity = np.array([0.2, 0.4, 0.6, 0.8])
    same = np.array([False, True, False, True])
    fold = np.array([0, 0, 1, 1])
    np.testing.assert_array_equal(verification_accuracy(similarity, same, fold), [0.5, 0.5])
    easy = verification_accuracy(np.array([0.1, 0.9, 0.2, 0.8]), same, fold)
    np.testing.assert_array_equal(easy, [1.0, 1.0])
    with pytest.raises(ValueError, match="another fold"):
        verification_accuracy(similarity, same, np.zeros(4))


def test_the_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    same = rng.random(300) < 0.5
    similarity = rng.normal(size=300) + same
    fold = np.repeat([0, 1], 150)
    found = verification_accuracy(similarity, same, fold)
    for k in (0, 1):
        there, here = fold != k, fold == k
        tried = np.linspace(-4, 5, 2000)
        right = [np.mean((similarity[there] > t) == same[there]) for t in tried]
        # Several thresholds can be equally good on the other fold; 150 pairs at 0.7 each.
        best = [t for t, r in zip(tried, right, strict=True) if r == max(right)]
        accuracies = [np.mean((similarity[here] > t) == same[here]) for t in best]
        assert min(accuracies) - 1e-9 <= found[k] <= max(accuracies) + 1e-9


def test_rates():
    different = np.linspace(0.0, 0.99, 100)
    same_pairs = np.array([0.5, 0.895, 0.985, 0.9999])
    similarity = np.concatenate([different, same_pairs])
    same = np.arange(104) >= 100
    # One different pair in a hundred may pass: the threshold is 0.98, and so on.
    assert true_accept_rate(similarity, same, far=0.01) == 0.5
    assert true_accept_rate(similarity, same, far=0.11) == 0.75
    assert true_accept_rate(similarity, same, far=1e-3) == 0.25
    with pytest.raises(ValueError, match="different persons"):
        true_accept_rate(same_pairs, np.ones(4, bool), far=0.1)
