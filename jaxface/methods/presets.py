"""Methods of inversion by name, each named after the source of its settings."""

import dataclasses
from collections.abc import Collection
from typing import Any

from jaxface.errors import UsageError, did_you_mean
from jaxface.methods import encoder, image2stylegan, photo, pie, pti, z_projection
from jaxface.methods.inversion import Inverter

PRESETS: dict[str, Inverter] = {
    "pie_embedded": pie.EMBEDDED,
    "pie_embedded_fast": pie.EMBEDDED_FAST,
    "pie_embedded_all": pie.EMBEDDED_ALL,
    "pie_embedded_all_direct": pie.without_w_stage(pie.EMBEDDED_ALL),
    "pie_paper": pie.PAPER,
    "pie_paper_all": pie.PAPER_ALL,
    "pie_paper_all_direct": pie.without_w_stage(pie.PAPER_ALL),
    "image2stylegan": image2stylegan.PAPER,
    "psp": encoder.PSP,
    "e4e": encoder.E4E,
    "w_encoder": encoder.W,
    "restyle": encoder.RESTYLE,
    "in_domain": encoder.IN_DOMAIN,
    "pti": pti.PTI_REPO,
    "pti_e4e": pti.PTI_E4E,
    "pti_embedded": pti.PTI_EMBEDDED,
    "z_embedded": z_projection.EMBEDDED,
    "photo": photo.PHOTO,
    "photo_fast": photo.PHOTO_FAST,
    "photo_pie": photo.PIE,
}


def preset(name: str, **changes: Any) -> Any:
    """The method of that name, an `Inverter`, with some fields of its settings changed.

    Raises:
      UsageError: no preset, or no field, of that name; the message gives the nearest.
    """
    if name not in PRESETS:
        raise UsageError(_unknown("preset", name, PRESETS))
    fields = [field.name for field in dataclasses.fields(PRESETS[name])]  # type: ignore
    for field in changes:
        if field not in fields:
            raise UsageError(_unknown("setting", field, fields))
    return dataclasses.replace(PRESETS[name], **changes)  # type: ignore


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known)
    return f"Unknown {kind} {name!r}; {hint} Known: {', '.join(sorted(known))}."
