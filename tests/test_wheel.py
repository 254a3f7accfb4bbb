"""What is published works without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow  # builds and installs a wheel: half a minute


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    pytest.importorskip("hatchling", reason="the wheel is built without a download")
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(
        [sys.executable, *build, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel is installed, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    install = ["-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run(
        [sys.executable, *install, "--target", str(folder), str(wheel)], check=True
    )
    return folder


def python(
    site: Path, cwd: Path, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    """Python somewhere else, where lenet is what the wheel installed."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_holds_code_and_conf_and_nothing_else(wheel: Path) -> None:
    """Every module and every level is in the wheel; tests and outputs are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    kinds = {".py", ".css", ".js", ".mjs", ".html"}  # the last four are of pages
    kinds |= {".json", ".safetensors", ".csv"}  # networks and labels that come with it
    files = [p for p in (ROOT / "lenet").rglob("*") if p.suffix in kinds]
    modules = {str(p.relative_to(ROOT)) for p in files}
    conf = {f"lenet/{p.relative_to(ROOT)}" for p in (ROOT / "conf").rglob("*.yaml")}
    assert "lenet/conf/preset/modern.yaml" in conf
    extra = {name for name in names if ".dist-info/" not in name}
    assert extra == modules | conf


def test_installed_command_is_not_the_checkout(site: Path, tmp_path: Path) -> None:
    """Elsewhere, lenet and its conf are those of the wheel."""
    code = "import lenet.config as c; print(c.__file__); print(c.CONF)"
    done = python(site, tmp_path, "-c", code)
    module, conf = done.stdout.split("\n")[:2]
    assert Path(module) == site / "lenet" / "config.py", done.stderr
    assert Path(conf) == site / "lenet" / "conf"


def test_installed_help_lists_the_levels(site: Path, tmp_path: Path) -> None:
    """`python -m lenet.train --help` knows conf without the checkout."""
    done = python(site, tmp_path, "-m", "lenet.train", "--help")
    assert done.returncode == 0, done.stderr
    assert "scaled_tanh" in done.stdout
    assert str(ROOT) not in done.stdout


def test_installed_command_trains(site: Path, tmp_path: Path) -> None:
    """A run on the digits works from the wheel, and is verified when read again."""
    typed = ("-m", "lenet.train", "data=digits", "epochs=1")
    done = python(site, tmp_path, *typed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("test error ")
    (path,) = tmp_path.glob("outputs/runs/*/record.json")
    changed = path.stat().st_mtime_ns
    assert python(site, tmp_path, *typed).stdout == done.stdout
    assert path.stat().st_mtime_ns == changed


def test_installed_network_reads_a_digit(site: Path, tmp_path: Path) -> None:
    """Three lines, offline, in an empty folder."""
    code = "import lenet, numpy as np; a = np.zeros((40, 40), np.uint8); "
    code += "a[5:35, 18:22] = 255; print(lenet.load('modern').predict(a).digit)"
    done = python(site, tmp_path, "-c", code)
    assert done.stdout == "1\n", done.stderr


def test_installed_command_is_lenet(site: Path, tmp_path: Path) -> None:
    """Its entry point runs the same code."""
    done = subprocess.run(
        [str(site / "bin" / "lenet"), "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "\n  chart " in done.stdout, done.stderr
