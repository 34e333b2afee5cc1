"""Terms of use of networks, as the headers of their files state them.

Three fields: ``licence``, an SPDX identifier or a named term (``LicenseRef-...``);
``commercial_use``, "yes", "no" or "unstated"; and ``licence_note``, in words. They repeat what the
publishers say and what is known of the training data; they are no legal advice.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from jaxface.errors import UsageError
from jaxface.suite import Suite

CommercialUse = Literal["yes", "no", "unstated"]

PERMISSIVE = ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "MIT")
"""Licences under which a header without ``commercial_use`` allows it."""


@dataclasses.dataclass(frozen=True)
class Terms:
    """Of a network.

    Attributes:
      licence: an SPDX identifier or a named term; "" where the file names none.
      commercial_use: "unstated" where its publisher does not say, or says it of the code alone.
      note: more in words.
    """

    licence: str = ""
    commercial_use: CommercialUse = "unstated"
    note: str = ""

    def told(self) -> str:
        """On one line."""
        note = f": {self.note}" if self.note else ""
        return f"{self.licence or 'none named'}, commercial use {self.commercial_use}{note}"

    def header(self) -> dict[str, str]:
        """The fields of a file's header."""
        fields = {
            "licence": self.licence,
            "commercial_use": self.commercial_use,
            "licence_note": self.note,
        }
        return {name: value for name, value in fields.items() if value}


def terms_of(header: Mapping[str, str]) -> Terms:
    """The terms that a header states; see `jaxface.weights.read_header`.

    Files of earlier versions have the licence alone, some in words.
    """
    licence = header.get("licence", "")
    use: CommercialUse = "yes" if licence in PERMISSIVE else "unstated"
    if licence.lower().startswith("non-commercial"):
        use = "no"
    if header.get("commercial_use") in ("yes", "no", "unstated"):
        use = header["commercial_use"]  # type: ignore
    return Terms(licence, use, header.get("licence_note", ""))


def suite_terms(suite: Suite) -> dict[str, Terms]:
    """The terms of each of a suite's networks, by the names of their files.

    Raises:
      WeightsError: a file is damaged.
    """
    return {stem: terms_of(suite.metadata(stem)) for stem in suite.files}


def require_commercial_use(suite: Suite) -> list[str]:
    """Refuses a suite with a network that is not for commercial use.

    Returns:
      The networks whose terms do not say.

    Raises:
      UsageError: naming every network whose terms forbid it.
      WeightsError: a file is damaged.
    """
    terms = suite_terms(suite)
    forbidden = [
        f"{stem} ({each.licence or 'no licence named'})"
        for stem, each in terms.items()
        if each.commercial_use == "no"
    ]
    if forbidden:
        raise UsageError(
            f"--commercial: the suite {suite.name!r} has networks for non-commercial use only: "
            f"{', '.join(forbidden)}; leave them out of its folder, or take another suite"
        )
    return [stem for stem, each in terms.items() if each.commercial_use == "unstated"]
