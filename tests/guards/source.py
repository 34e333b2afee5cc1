"""The package's source as syntax trees."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "jaxface"


@functools.cache
def modules(*rooms: str) -> dict[str, ast.Module]:
    """Dotted name to syntax tree: of all modules, or of those in these rooms of the package."""
    folders = [PACKAGE / room for room in rooms] or [PACKAGE]
    paths = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return {_dotted(path): ast.parse(path.read_text(), str(path)) for path in paths}


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.Module) -> set[str]:
    """What a module imports, anywhere in it: ``from a import b`` gives ``a`` and ``a.b``."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of these packages or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def attributes(tree: ast.Module) -> Iterator[str]:
    """Dotted names that are read, such as ``jax.grad``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
