"""README and docs: every command line parses, every Python block names what exists, some run."""

import argparse
import ast
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
import time

import pytest
from source import ROOT

from jaxface.cli import VERBS
from jaxface.errors import UsageError

PAGES = [ROOT / "README.md", ROOT / "benchmarks/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?:\{code-cell\} )?(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`jaxface ([a-z]+)([^`]*)`")

# What "..." stands for on a line.
ELIDED = {"invert": ["photos/", "--out", "DIR"], "train": ["generator", "--config", "config.py"]}
# Pages whose blocks need nothing but the package.
COMPLETE = ("README.md", "docs/embedded_suite.md", "docs/embedded_world.md")
# Pages whose blocks go on from each other.
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.md"))

# What the tests' own processes are started with: eight devices, no cache.
OF_THE_TESTS = ("XLA_FLAGS", "JAXFACE_COMPILATION_CACHE")


def blocks(page, *languages):
    return [text for language, text in FENCE.findall(page.read_text()) if language in languages]


def name_of(page):
    return str(page.relative_to(ROOT))


def commands():
    """Page, and the words after `jaxface`, of every command in a block."""
    for page in PAGES:
        for block in blocks(page, "", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                line = re.sub(r"\s{2,}#.*", "", line).replace("[", "").replace("]", "")
                for text in re.findall(r"(?:^|&& |\$\(|\s)jaxface ([^()&|`]+)", line):
                    yield pytest.param(shlex.split(text), id=f"{name_of(page)}: {text[:40]}")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(message)


def parser_of(verb):
    parser = Parser(prog=verb)
    importlib.import_module(f"jaxface.cli.{verb}").add_arguments(parser)
    return parser


def options_of(parser):
    """Options of a verb and of its own verbs."""
    options = {option for action in parser._actions for option in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            options |= {each for child in action.choices.values() for each in options_of(child)}
    return options


@pytest.mark.parametrize("words", [*commands()])
def test_commands_parse(words):
    verb, *rest = words
    assert verb in VERBS
    if "..." in rest:
        rest = [*ELIDED[verb], *(word for word in rest if word != "...")]
    parser_of(verb).parse_args(rest)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_text_name_verbs_and_options(page):
    for verb, rest in INLINE.findall(page.read_text()):
        assert verb in VERBS
        known = options_of(parser_of(verb))
        for option in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", rest):
            assert option in known, f"jaxface {verb} {option}"


def python_blocks():
    for page in PAGES:
        found = blocks(page, "python")
        for index, block in enumerate(["\n".join(found)] if page in NOTEBOOKS else found):
            yield pytest.param(block, id=f"{name_of(page)}-{index}")


@pytest.mark.parametrize("block", [*python_blocks()])
def test_python_names_what_exists(block):
    """Imports are there, and calls of the package's functions fit their signatures."""
    tree = ast.parse(block)
    # What a page has imported further up.
    names = {name: importlib.import_module(name) for name in ("dataclasses", "jax", "jaxface")}
    names["pie"] = importlib.import_module("jaxface.methods.pie")
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), "<imports>", "exec"), names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and _root(node) in names:
            eval(compile(ast.Expression(node), "<name>", "eval"), names)
        if isinstance(node, ast.Call) and _root(node.func) in names:
            function = eval(compile(ast.Expression(node.func), "<name>", "eval"), names)
            if str(getattr(function, "__module__", "")).startswith("jaxface"):
                keywords = {each.arg: None for each in node.keywords if each.arg}
                inspect.signature(function).bind(*node.args, **keywords)


def _root(node):
    """The first name of a dotted one; None of anything else."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


@pytest.mark.slow
@pytest.mark.parametrize("page", COMPLETE)
def test_complete_pages_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(ROOT / page, "python"):
        exec(compile(block, page, "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("page", NOTEBOOKS, ids=name_of)
def test_notebooks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks(page, "python")), str(page), "exec"), {})


@pytest.mark.slow
def test_the_first_five_minutes_run(tmp_path):
    """Every block of docs/start.md in its order but for the installation, as a user runs them."""
    program = [sys.executable, "-m", "jaxface"]
    known = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS}
    known |= {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}
    for language, block in FENCE.findall((ROOT / "docs/start.md").read_text()):
        calls = [[sys.executable, "-c", block]] if language == "python" else []
        for line in block.replace("\\\n", " ").splitlines() if language == "sh" else ():
            name, *words = shlex.split(line)
            assert name == "jaxface"
            calls.append([*program, *words])
        for call in calls:
            start = time.monotonic()
            ended = subprocess.run(
                call, cwd=tmp_path, env=known, check=False, capture_output=True, text=True
            )
            assert ended.returncode == 0, ended.stderr
            print(f"{time.monotonic() - start:6.1f} s  {' '.join(call[2:])[:90]!r}")
