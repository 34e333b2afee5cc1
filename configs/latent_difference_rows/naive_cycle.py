"""The row `naive_cycle` of the Latent Difference Encoder's table, at the embedded suite's size.

    jaxface train latent_difference --config configs/latent_difference_rows/naive_cycle.py

See `row` of `configs/embedded_latent_difference.py`."""

import pathlib
import runpy

from jaxface.training.experiment import Experiment

WHOLE = pathlib.Path(__file__).parents[1] / "embedded_latent_difference.py"


def get_config() -> Experiment:
    """See the module."""
    return runpy.run_path(str(WHOLE))["row"]("naive_cycle")
