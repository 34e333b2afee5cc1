"""The row `code_form`: `latent_cycle` with the accidents of the authors' code.

    jaxface train latent_difference --config configs/latent_difference_rows/code_form.py

See `row` of `configs/embedded_latent_difference.py`."""

import pathlib
import runpy

from jaxface.nets.edits.latent_difference import CODE
from jaxface.training.experiment import Experiment

WHOLE = pathlib.Path(__file__).parents[1] / "embedded_latent_difference.py"


def get_config() -> Experiment:
    """See the module."""
    return runpy.run_path(str(WHOLE))["row"]("latent_cycle", **CODE)
