"""One line a job, on arrays in memory: `generate`, `invert`, `edit`, `reenact`, `personalise`.

Collections of files, with rows, resuming and shards, are `jaxface.jobs`'s and the command's; the
parts with all of their settings are in `jaxface.methods`.
"""

from jaxface.api.editing import edit
from jaxface.api.generation import generate
from jaxface.api.inversion import invert
from jaxface.api.personalisation import personalise
from jaxface.api.reenactment import reenact

__all__ = ["edit", "generate", "invert", "personalise", "reenact"]
