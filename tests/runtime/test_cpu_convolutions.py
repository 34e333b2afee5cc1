"""Convolutions by Eigen: XLA is told so where it knows the flag, and has none of YNNPACK then."""

import jax
import jax.numpy as jnp
import pytest

from jaxface.runtime import cpu_convolutions
from jaxface.runtime.cpu_convolutions import FLAG, use_eigen_convolutions


@pytest.fixture(autouse=True)
def on_x86(monkeypatch):
    monkeypatch.setattr(cpu_convolutions.platform, "machine", lambda: "x86_64")


def flags(monkeypatch, *, version, given):
    """XLA_FLAGS, after, with a version of jaxlib."""
    monkeypatch.setattr(cpu_convolutions.importlib.metadata, "version", lambda name: version)
    monkeypatch.setenv("XLA_FLAGS", given)
    use_eigen_convolutions()
    return cpu_convolutions.os.environ["XLA_FLAGS"]


@pytest.mark.parametrize("version", ["0.10.1", "0.11.0", "0.12.0.1"])
def test_the_flag_is_added_to_those_of_the_user(monkeypatch, version):
    assert flags(monkeypatch, version=version, given="--a=1") == f"--a=1 {FLAG}="
    assert flags(monkeypatch, version=version, given="") == f"{FLAG}="


def test_users_decide(monkeypatch):
    given = f"{FLAG}=LIBRARY_FUSION_TYPE_DOT"
    assert flags(monkeypatch, version="0.10.2", given=given) == given


@pytest.mark.parametrize("version", ["0.9.2", "0.13.0", "1.0.0"])
def test_other_versions_of_xla_are_not_given_a_flag_they_may_not_know(monkeypatch, version):
    assert flags(monkeypatch, version=version, given="") == ""


def test_other_processors_were_not_measured(monkeypatch):
    monkeypatch.setattr(cpu_convolutions.platform, "machine", lambda: "arm64")
    assert flags(monkeypatch, version="0.10.2", given="") == ""


def test_the_tests_own_convolutions_are_eigen_s():
    def convolved(images, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=names)

    shapes = jnp.zeros((2, 8, 8, 4)), jnp.zeros((3, 3, 4, 4))
    assert "ynn" not in jax.jit(convolved).lower(*shapes).compile().as_text()
