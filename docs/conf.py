"""Sphinx builds the documentation site by this.

`JAXFACE_NOTEBOOKS=force` executes the notebooks; without it, or with `off`, they are shown as they
are.
"""

import importlib
import os
import re
from pathlib import Path

# The modules are imported for their docstrings, and computed with by the notebooks.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jaxface

project = "jaxface"
author = "The jaxface authors"
copyright = author
release = version = jaxface.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}
exclude_patterns = ["_build"]
html_theme = "sphinx_book_theme"
html_title = "jaxface"
html_theme_options = {
    "repository_url": "https://github.com/jaxface/jaxface",
    "use_repository_button": True,
    "show_navbar_depth": 1,
}
html_copy_source = False

# Headings have GitHub's anchors, so that links between pages work there and here.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

nb_execution_mode = os.environ.get("JAXFACE_NOTEBOOKS", "off")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

# The navigation has pages, not objects: 1,400 of them, on every page, take longer than the rest.
toc_object_entries = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
# Docstrings name modules, functions and their own arguments between single backticks.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!jaxface\.).*")]

_REPOSITORY = f"{html_theme_options['repository_url']}/blob/main/"
_OUTWARDS = re.compile(r"\]\(((?:\.\./)+)([^)\s]*)\)")


def _link_to_the_repository(app, name, text):
    """Relative links to files outside of docs/, which GitHub follows, lead to the repository."""
    depth = len(Path(name).parts)

    def absolute(match):
        outside = match[1].count("../") >= depth
        return f"]({_REPOSITORY}{match[2]})" if outside else match[0]

    text[0] = _OUTWARDS.sub(absolute, text[0])


def _show_code(app, what, name, member, options, lines):
    """Indented paragraphs of a module's docstring are formulas and code: shown as they are."""
    if what != "module":
        return
    shown = []
    for line in lines:
        outer = next((each for each in reversed(shown) if each), " ")
        if line.startswith("    ") and shown and not shown[-1] and not outer.startswith(" "):
            shown += [] if outer.endswith("::") else ["::", ""]
        shown.append(line)
    lines[:] = shown


def _known_but_elsewhere(app, environment, node, content):
    """What is in the package but on no page stays a word; other unknown names are warnings."""
    target = node.get("reftarget", "").removesuffix("()")
    if not target.startswith("jaxface."):
        return content if target.startswith("jaxface ") else None  # a command line
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
            for part in parts[length:]:
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        return content
    return None


def setup(app):
    app.connect("source-read", _link_to_the_repository)
    app.connect("autodoc-process-docstring", _show_code)
    app.connect("missing-reference", _known_but_elsewhere)
