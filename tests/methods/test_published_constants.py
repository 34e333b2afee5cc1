"""The constants that the papers' texts give, against the code that claims them.

Each row: the constant, where the text has it, its value there, and the code's. Weights are compared
in the papers' units, taken back out of this library's means.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.benchmark import pie as pie_benchmark
from jaxface.benchmark.published import PUBLISHED
from jaxface.methods import image2stylegan, pie, pti
from jaxface.methods.presets import PRESETS
from jaxface.morphable import LANDMARKS_66
from jaxface.morphable.parameters import NUM_PARAMETERS, WIDTHS, group_width

ALL, SIZE, ROWS, WIDTH = pie.PAPER_ALL, 1024, 18, 512
LAYERS = dict(ALL.layers)
FIRST, SECOND = pie.stages(ALL, ROWS)
# Table 2: "the second term in Eq. 15", with its weight of 0.1, of Image2StyleGAN's edits.
LOST = 275.40 / 0.1
TIMES = {time.figure: time for time in PUBLISHED}

PIE = [
    ("parameters of a face", "section 3.1, equation 1", 257, NUM_PARAMETERS),
    ("pose (phi, rho)", "section 3.1", 6, group_width("pose")),
    ("identity alpha", "section 3.1", 80, WIDTHS["identity"]),
    ("reflectance delta", "section 3.1", 80, WIDTHS["reflectance"]),
    ("expression beta", "section 3.1", 64, WIDTHS["expression"]),
    ("illumination gamma", "section 3.1", 27, WIDTHS["illumination"]),
    ("groups tau", "section 4, Table 1", 3, len(pie.EMBEDDED_ALL.groups)),
    ("tau of an inversion", "section 4: one; section 5.4: pose", ("pose",), ALL.groups),
    ("terms", "equations 6 and 15", 6, len(ALL.terms)),
    ("lambda_l2", "section 5", 1e-6, ALL.l2_weight / (3 * SIZE**2 * 127.5**2)),
    ("lambda_p", "section 5", 1e-6, ALL.perceptual_weight / 57.6**2),
    ("lambda_id", "section 5", 1.0, ALL.identity_weight / (ROWS * WIDTH)),
    ("lambda_ph", "section 5", 0.001, ALL.photometric_weight / 127.5**2),
    ("lambda_lm", "section 5", 0.2, ALL.landmark_weight / ALL.face_resolution**2),
    ("lambda_rw", "section 5", 0.1, ALL.recognition_weight / LOST),
    ("lambda_rw^", "section 5", 0.1, ALL.edit_recognition_weight / LOST),
    ("lambda_e", "section 5", 10.0, ALL.edit_weight),
    ("lambda_inv", "section 5", 10.0, ALL.invariance_weight),
    ("layers of VGG-16", "section 4.1", {"conv1_1", "conv1_2", "conv3_2", "conv4_2"}, set(LAYERS)),
    ("scalars of conv1_1", "section 4.1: by 4", 64 * 256**2, LAYERS["conv1_1"]),
    ("scalars of conv4_2", "section 4.1: by 4", 512 * 32**2, LAYERS["conv4_2"]),
    ("downsampling before VGG-16", "section 4.1", 4, SIZE // ALL.perceptual_resolution),
    ("landmarks", "equation 10", 66, len(LANDMARKS_66)),
    ("landmarks of I", "equation 10: detected in the image", "network", ALL.landmarks),
    ("another v in each iteration", "section 4.4", 0, ALL.bank),
    ("optimiser", "section 4.4", pie.Adadelta, type(ALL.optimizer)),
    ("iterations in W", "section 4.4", ("w", 2000), (FIRST.name, FIRST.steps)),
    ("iterations in W+", "section 4.4", ("w_plus", 1000), (SECOND.name, SECOND.steps)),
    ("starting step size in W", "section 5", 50.0, ALL.w_step_size),
    ("starting step size in W+", "section 5", 10.0, ALL.w_plus_step_size),
    ("decay of the step size", "section 5", 0.1, ALL.decay_rate),
    ("steps of a decay", "section 5", 2000, ALL.decay_steps),
    ("iterations of an inversion", "section 5", 3000, pie_benchmark.ITERATIONS),
    ("seconds of an iteration", "section 5: 10 min", 600 / 3000, pie_benchmark.PAPER_SECONDS),
    ("direct optimisation", "sections 4.4, 5.2", 0, PRESETS["pie_paper_all_direct"].w_steps),
    ("terms of Image2StyleGAN", "section 5.3.1", ("synthesis",), image2stylegan.PAPER.terms),
    ("stage in W of Image2StyleGAN", "section 5.3.1", 0, image2stylegan.PAPER.w_steps),
    (
        "layers of Image2StyleGAN",
        "section 4.1",
        set(LAYERS),
        {name for name, _ in image2stylegan.PAPER.layers},
    ),
]

OTHERS = [
    ("PVP: most steps of PTI", "section 5.1", 350, pti.PAPER.steps),
    ("PVP: LPIPS's weight in PTI", "equation 3", 1.0, pti.PAPER.lpips_weight),
    ("PVP: PTI's locality", "equation 3", True, pti.PAPER.locality),
    (
        "PVP: 200 pivots, 350 steps, 3 hours",
        "sections 5.1, 5.4",
        3 * 3600 / (200 * 350),
        TIMES["about 3 h for 200 pivots of 350 steps"].seconds,
    ),
    ("PVP: frames a second", "section 5.4", 54, 1 / TIMES["54 frames/s"].seconds),
    ("Transfer: images a second", "section 4.3", 20, 1 / TIMES["up to 20 frames/s"].seconds),
]

TABLE_2 = """\
| PSNR, dB | 30.15 | 29.84 | 30.15 | 29.96 | 29.76 | 31.21 |
| SSIM | 0.70 | 0.69 | 0.70 | 0.70 | 0.69 | 0.75 |
| editing error, rad | 0.06 | 0.11 | 0.036 | 0.08 | 0.037 | 0.07 |
| recognition error | 95.76 | 43.64 | 90.10 | 42.82 | 51.65 | 275.40 |
"""


@pytest.mark.parametrize(("constant", "where", "text", "code"), PIE)
def test_pie(constant, where, text, code):
    check(constant, where, text, code)


@pytest.mark.parametrize(("constant", "where", "text", "code"), OTHERS)
def test_others(constant, where, text, code):
    check(constant, where, text, code)


def check(constant, where, text, code):
    if isinstance(text, float):
        text = pytest.approx(text, rel=1e-12)
    assert code == text, f"{constant} ({where})"


def test_the_docs_quote_table_2():
    page = (Path(__file__).parents[2] / "docs" / "pie.md").read_text("utf-8")
    assert TABLE_2 in page


def test_the_step_size_starts_anew_in_w_plus():
    """Section 5 gives a starting step size for each space: 10 in W+, whatever W's decay left."""
    updates = []
    for stage in (FIRST, SECOND):
        w = jnp.zeros(())
        update, _ = stage.optimizer.update(jnp.ones(()), stage.optimizer.init(w), w)
        updates.append(np.asarray(update).item())
    assert updates[1] / updates[0] == pytest.approx(10 / 50)
