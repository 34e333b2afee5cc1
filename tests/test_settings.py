"""Changes by dotted names: what fits its annotation, and one error for what does not."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from jaxface.errors import UsageError
from jaxface.settings import apply_overrides


@dataclasses.dataclass(frozen=True)
class Stage:
    steps: int = 1
    rate: float = 0.5

    def __post_init__(self):
        assert 10 // self.steps >= 0


@dataclasses.dataclass(frozen=True)
class Settings:
    stages: tuple[Stage, ...] = (Stage(), Stage())
    noise: Literal["const", "none"] | None = "const"
    terms: tuple[Literal["pixel", "identity"], ...] = ("pixel",)
    weights: tuple[float, ...] = (1.0, 2.0)
    size: tuple[int, int] | None = None
    by_name: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"a": 1.0})
    begin: Stage | None = None
    anything: Any = 1

    def __post_init__(self):
        self.stages[0].steps.bit_length()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("noise=cnst", "expected 'const' or 'none' or None, got 'cnst'; did you mean 'const'?"),
        ("terms=pixel,identty", "got 'pixel,identty'; did you mean 'identity'?"),
        ("terms.0=pixl", "expected 'pixel' or 'identity', got 'pixl'; did you mean 'pixel'?"),
        ("stages=5", r"expected tuple\[Stage, ...\], got '5'$"),
        ("stages=(1, 2)", r"expected tuple\[Stage, ...\], got '\(1, 2\)'; 1 is no Stage"),
        ("stages.0=3", "stages.0: expected Stage, got '3'"),
        ("stages.1.steps=0", "stages.1.steps=0: integer division or modulo by zero"),
        ("weights=(1, 'b')", r"expected tuple\[float, ...\], got .*; 'b' is no float"),
        ("weights.1=b", "weights.1: expected float, got 'b'"),
        ("size=(1, 2, 3)", r"expected tuple\[int, int\] or None, got '\(1, 2, 3\)'$"),
        ("size=(1, 2.5)", "2.5 is no int"),
        ("by_name={'a': 'b'}", r"expected Mapping\[str, float\], got .*; 'b' is no float"),
        ("by_name.a=b", "by_name.a: expected float, got 'b'"),
        ("begin=3", "begin: expected Stage or None, got '3'"),
        ("anything=a", "anything: expected int, got 'a'"),
        ("stages=()", "tuple index out of range"),
    ],
)
def test_a_value_of_another_type_is_one_error(change, message):
    with pytest.raises(UsageError, match=f"^--set {message}|^--set .*{message}"):
        apply_overrides(Settings(), [change])


def test_values_become_what_their_annotation_says():
    changed = apply_overrides(
        Settings(),
        [
            "noise=None",
            "terms=identity,pixel",
            "weights=[1, 2, 3]",
            "weights.2=4",
            "size=[8, 8]",
            "by_name={'b': 1}",
            "anything=2",
        ],
    )
    assert (changed.noise, changed.terms, changed.anything) == (None, ("identity", "pixel"), 2)
    assert (changed.weights, changed.size, changed.by_name) == ((1.0, 2.0, 4.0), (8, 8), {"b": 1.0})
    numbers = (*changed.weights, *changed.by_name.values())
    assert {type(each) for each in numbers} == {float}
