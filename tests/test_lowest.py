"""The lowest declared versions: said for every package, and what they are tested at."""

import os
import tomllib
from importlib import metadata

import pytest
from lowest_versions import ROOT, lowest


def test_every_package_has_a_lowest_version() -> None:
    """But for lenet itself, which the extra of the tests names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    declared = {*project["dependencies"], *(text for extra in extras for text in extra)}
    own = {text for text in declared if text.startswith("lenet[")}
    assert len(lowest()) == len(declared - own)
    assert all(lowest().values())


@pytest.mark.skipif("LENET_LOWEST" not in os.environ, reason="of that environment")
def test_environment_has_the_lowest_versions() -> None:
    """What is installed is what pyproject.toml declares: the tests are of that."""
    for name in ("numpy", "pandas", "matplotlib", "scipy", "torch", "numba"):
        installed = metadata.version(name).partition("+")[0]
        declared = lowest()[name]
        assert f"{installed}.".startswith(f"{declared}."), name
