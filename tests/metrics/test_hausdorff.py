"""Hausdorff distance; parity with the Latent Difference Encoder's is in tests/convert."""

import numpy as np
import pytest
from scipy.spatial.distance import directed_hausdorff

from jaxface.metrics.hausdorff import hausdorff, hausdorff_by_group


def test_it_is_the_larger_directed_distance():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(7, 2)), rng.normal(size=(5, 2))
    wanted = max(directed_hausdorff(first, second)[0], directed_hausdorff(second, first)[0])
    assert hausdorff(first, second) == pytest.approx(wanted)
    assert hausdorff(first, first) == 0.0


def test_empty_groups_are_told():
    some, none = np.zeros((2, 2)), np.zeros((0, 2))
    assert hausdorff_by_group({"a": some}, {"a": some + 3}) == {"a": pytest.approx(18**0.5)}
    assert hausdorff_by_group({"a": some, "b": some}, {"a": some, "b": none}) is None
    with pytest.raises(ValueError, match="none of them empty"):
        hausdorff(some, none)
