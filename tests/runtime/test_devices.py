"""Which devices a call uses."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.jobs.inversion import default_batch_size
from jaxface.runtime import devices
from jaxface.runtime.devices import apart, beside, data_mesh, divisor_mesh, memory_bytes


def test_all_devices_or_those_named():
    assert data_mesh().devices.tolist() == jax.devices()
    some = jax.devices()[2:5]
    assert data_mesh(some).devices.tolist() == some
    assert data_mesh().axis_names == ("data",)


@pytest.mark.parametrize(("rows", "used"), [(1, 1), (7, 7), (9, 3), (12, 6), (16, 8), (11, 1)])
def test_as_many_devices_as_divide_the_rows(rows, used):
    assert jax.local_device_count() == 8
    assert divisor_mesh(rows).devices.size == used


@pytest.mark.parametrize(
    ("resolution", "inputs", "size"), [(64, 100, 32), (64, 9, 16), (64, 1, 8), (1024, 100, 8)]
)
def test_batches_fill_the_devices(resolution, inputs, size):
    assert default_batch_size(resolution, inputs) == size


def test_memory_is_shared_by_the_cpu_devices():
    free = memory_bytes()
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free * jax.local_device_count() <= whole


def test_reading_keeps_its_share_of_the_memory_up_to_half(monkeypatch):
    monkeypatch.setattr(devices, "_free_bytes", lambda: 8000)
    count = jax.local_device_count()
    assert memory_bytes() == 8000 // count
    assert memory_bytes(1000) == 7000 // count
    assert memory_bytes(7000) == 4000 // count


def test_batches_lie_beside_each_other_and_apart_again():
    one, other = {"x": jnp.arange(6.0).reshape(3, 2)}, {"x": -jnp.arange(6.0).reshape(3, 2)}
    joined = beside(one, other)
    assert joined["x"][:, 0].tolist() == [0, 0, 2, -2, 4, -4]
    for found, given in zip(apart(joined, 2), (one, other), strict=True):
        np.testing.assert_array_equal(found["x"], given["x"])
