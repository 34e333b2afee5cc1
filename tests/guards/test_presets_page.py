"""docs/presets.md: every preset has its row, and terms and steps are the code's."""

import re

from source import ROOT

from jaxface.methods import encoder, pie, pti, z_projection
from jaxface.methods.presets import PRESETS
from jaxface.methods.reenactment_presets import IMAGE_DRIVEN, REENACTMENT_PRESETS

PAGE = (ROOT / "docs/presets.md").read_text()


def rows(heading):
    """The cells of the table under a header that begins so."""
    table = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table]


def terms(method):
    match method:
        case pti.PivotalTuning(pivot=pivot, tuning=tuning):
            distance = {"lpips": "LPIPS", "perceptual": "perceptual"}[tuning.distance]
            return f"{terms(pivot)}; L2, {distance}"
        case pie.Settings(terms=names):
            return ", ".join(names).replace("_", " ")
        case z_projection.Settings():
            weights = (method.l2_weight, method.perceptual_weight, method.prior_weight)
            names = zip(("L2", "perceptual", "prior"), weights, strict=True)
            return ", ".join(name for name, weight in names if weight)
        case encoder.Settings():
            return "none"


def steps(method):
    match method:
        case pti.PivotalTuning(pivot=pivot, tuning=tuning):
            return f"{steps(pivot)}, {tuning.steps} of tuning"
        case pie.Settings(start=start, w_steps=w_steps, w_plus_steps=w_plus_steps):
            stages = [("W", w_steps), ("W+", w_plus_steps)]
            said = [f"{count} in {space}" for space, count in stages if count]
            return ", ".join(["encoder", *said] if start == "encoder" else said)
        case z_projection.Settings():
            return f"{method.code_steps} to the encoder's code, {method.steps} in Z"
        case encoder.Settings(encoder="restyle", iterations=iterations):
            return f"{iterations} passes of the encoder"
        case encoder.Settings():
            return "one pass of the encoder"


def test_every_preset_is_there_with_its_terms_and_steps():
    expected = [[f"`{name}`", terms(each), steps(each)] for name, each in PRESETS.items()]
    assert [row[:3] for row in rows("preset")] == expected


def test_times_are_measured_somewhere_or_said_not_to_be():
    for row in rows("preset"):
        assert len(row) == 6
        assert row[3] == "not measured" or re.fullmatch(r"[\d.]+( to \d+)? \[[12]\]", row[3])
        assert row[4] == "not measured"
        assert row[5]


def test_every_method_of_reenactment_is_there_with_its_embedding():
    methods = REENACTMENT_PRESETS | IMAGE_DRIVEN
    expected = [
        [f"`{name}`", f"{terms(each.inversion)}: {steps(each.inversion)}"]
        for name, each in methods.items()
    ]
    assert [row[:2] for row in rows("method")] == expected
