"""What pyproject.toml declares is imported, and what is imported is declared."""

import re
import sys
import tomllib

from source import ROOT, imported, modules

# Where the module's name is not the package's.
MODULES = {"orbax-checkpoint": "orbax", "pillow": "PIL", "scikit-learn": "sklearn"}
MODULES |= {"c2pa-python": "c2pa", "dlib-bin": "dlib", "pillow-jxl-plugin": "pillow_jxl"}
# Declared for another reason than an import in the package.
FOR_OTHERS = {
    "chex": "its assertions, in the tests",
    "importlib-resources": "tensorflow-datasets imports it without declaring it",
    "face-recognition-models": "its files are read, it is not run",
    "gcsfs": "fsspec opens gs:// with it",
    "s3fs": "fsspec opens s3:// with it",
    "matplotlib": "the plots of the benchmarks and the evaluation",
    "scikit-learn": "directions of linear classifiers",
}
# Extras of the developers, not of the package.
DEVELOPMENT = ("test", "docs", "peers", "cuda", "tpu")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.split(r"[\[<>=;! ]", each, maxsplit=1)[0] for each in requirements}


def module_of(name):
    return MODULES.get(name, name.replace("-", "_"))


def third_party():
    found = {name.split(".")[0] for tree in modules().values() for name in imported(tree)}
    return found - {*sys.stdlib_module_names, "jaxface"}


def test_what_is_declared_is_imported():
    extras = PROJECT["optional-dependencies"]
    optional = [r for extra, some in extras.items() if extra not in DEVELOPMENT for r in some]
    declared = names(PROJECT["dependencies"]) | names(optional)
    used = third_party()
    unused = {name for name in declared if module_of(name) not in used}
    assert unused - {*FOR_OTHERS} == set()


def test_what_is_imported_is_declared():
    extras = PROJECT["optional-dependencies"].values()
    declared = names(PROJECT["dependencies"]).union(*(names(some) for some in extras))
    assert third_party() <= {module_of(name) for name in declared}
