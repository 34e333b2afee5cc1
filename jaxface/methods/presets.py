"""Settings by name, each named after its source."""

import dataclasses
from collections.abc import Collection
from typing import Any

from jaxface.errors import UsageError, did_you_mean
from jaxface.methods import image2stylegan, pie

PRESETS: dict[str, pie.Settings] = {
    "pie_embedded": pie.EMBEDDED,
    "pie_embedded_all": pie.EMBEDDED_ALL,
    "pie_embedded_all_direct": pie.without_w_stage(pie.EMBEDDED_ALL),
    "pie_paper": pie.PAPER,
    "pie_paper_all": pie.PAPER_ALL,
    "pie_paper_all_direct": pie.without_w_stage(pie.PAPER_ALL),
    "image2stylegan": image2stylegan.PAPER,
}


def preset(name: str, **changes: Any) -> pie.Settings:
    """The settings of that name with some fields changed.

    Raises:
      UsageError: no preset, or no field, of that name; the message gives the nearest.
    """
    if name not in PRESETS:
        raise UsageError(_unknown("preset", name, PRESETS))
    fields = [field.name for field in dataclasses.fields(pie.Settings)]
    for field in changes:
        if field not in fields:
            raise UsageError(_unknown("setting", field, fields))
    return dataclasses.replace(PRESETS[name], **changes)


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known)
    return f"Unknown {kind} {name!r}; {hint} Known: {', '.join(sorted(known))}."
