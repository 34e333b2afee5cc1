"""The model card of a suite, from the headers of its files: nothing is loaded or run.

In Markdown with the front matter that model hubs read (Mitchell et al., *Model Cards for Model
Reporting*, 2019).
"""

import dataclasses
import math
from typing import Any

from safetensors import safe_open

from jaxface.licences import Terms, terms_of
from jaxface.suite import Suite

LIMITS = (
    "Networks of faces repeat what their training data has and lacks: age, skin, pose and light "
    "that are rare there are drawn and recognised worse.",
    "An edited portrait of a person is synthetic media. Do not make one without the person's "
    "consent, do not pass one off as a photograph, and follow the law of your country on "
    "labelling.",
    "Embeddings of identity are biometric data of the person in them.",
)
RENDERS = (
    "It was trained on renders of a procedural face world alone. It is for trying, testing and "
    "measuring the methods against a known truth, and no model of photographs."
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One network of a suite.

    Attributes:
      role: the name of its file.
      network: its class.
      parameters: how many numbers its file holds.
      dtypes: those they are stored in.
      size: of the file in bytes.
      sha256: of the file.
      terms: see `jaxface.licences`.
      config: of the network.
      made: where it comes from: a conversion's source or a training's recipe, by field.
    """

    role: str
    network: str
    parameters: int
    dtypes: tuple[str, ...]
    size: int
    sha256: str
    terms: Terms
    config: str
    made: dict[str, str]


_MADE = (
    "recipe",
    "method",
    "images",
    "note",
    "source_family",
    "source_network",
    "source_package",
    "source_sha256",
    "converter_version",
    "conversion_notes",
)


def entries(suite: Suite) -> list[Entry]:
    """What a suite's files say of themselves.

    Raises:
      WeightsError: a file is damaged.
    """
    found = []
    for role, path in suite.files.items():
        header = suite.metadata(role)
        with safe_open(path, framework="numpy") as file:
            slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118
            parameters = sum(math.prod(each.get_shape()) for each in slices)
            dtypes = tuple(sorted({str(each.get_dtype()) for each in slices}))
        found.append(
            Entry(
                role=role,
                network=header["network"],
                parameters=parameters,
                dtypes=dtypes,
                size=path.stat().st_size,
                sha256=suite.digest(role),
                terms=terms_of(header),
                config=header["config"],
                made={name: header[name] for name in _MADE if header.get(name)},
            )
        )
    return found


def as_json(suite: Suite) -> dict[str, Any]:
    """The card for programs: the suite's name and its entries by role."""
    networks = {each.role: dataclasses.asdict(each) for each in entries(suite)}
    return {"suite": suite.name, "networks": networks}


def as_markdown(suite: Suite) -> str:
    """The card for people."""
    found = entries(suite)
    licences = {each.terms.licence or "unstated" for each in found}
    licence = licences.pop().lower() if len(licences) == 1 else "other"
    lines = [
        "---",
        f"license: {licence}",
        "library_name: jaxface",
        "tags: [stylegan2, gan-inversion, face-editing, flax]",
        "---",
        "",
        f"# {suite.name}",
        "",
        f"A suite of jaxface: {len(found)} networks, "
        f"{sum(each.parameters for each in found):,} parameters, "
        f"{sum(each.size for each in found) / 1e6:.1f} MB.",
        "",
        "## Networks",
        "",
        "| file | network | parameters | stored in | MB | licence | commercial use |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{each.role}` | {each.network} | {each.parameters:,} | {', '.join(each.dtypes)} "
        f"| {each.size / 1e6:.1f} | {each.terms.licence or 'none named'} "
        f"| {each.terms.commercial_use} |"
        for each in found
    ]
    lines += ["", "## Terms", "", _terms(found), ""]
    lines += [f"* `{each.role}`: {_sentence(each.terms.note)}" for each in found if each.terms.note]
    lines += ["", "## Use and limits", ""]
    if all(str(each.made.get("recipe", "")).startswith("configs/embedded") for each in found):
        lines += [f"* {RENDERS}"]
    lines += [f"* {limit}" for limit in LIMITS]
    lines += ["", "## Where each network comes from", ""]
    for each in found:
        lines += [f"### {each.role}", "", *_origin(each), ""]
    return "\n".join(lines).rstrip() + "\n"


def _terms(found: list[Entry]) -> str:
    by_use = {
        use: [f"`{each.role}`" for each in found if each.terms.commercial_use == use]
        for use in ("yes", "no", "unstated")
    }
    told = []
    if by_use["no"]:
        told.append(f"Not for commercial use: {', '.join(by_use['no'])}.")
    if by_use["unstated"]:
        told.append(
            f"Terms for commercial use are not stated: {', '.join(by_use['unstated'])}; ask who "
            "published them."
        )
    if not told:
        told.append("The licences allow commercial use of every network.")
    return " ".join(told)


def _origin(entry: Entry) -> list[str]:
    lines = [f"* SHA-256: `{entry.sha256}`", f"* configuration: `{entry.config}`"]
    return lines + [f"* {name.replace('_', ' ')}: {value}" for name, value in entry.made.items()]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
