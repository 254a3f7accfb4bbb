"""An edition is proven, not spelled: its goldens, and what cannot pass for it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lenet
from lenet.config import FACTORS, Refusal, names
from lenet.training import edition
from lenet.training.loops import cache

ROOT = Path(lenet.__file__).parent


def test_goldens_are_of_every_level_and_both_presets() -> None:
    """No level of any factor is left out, from either preset."""
    known = {golden["name"] for golden in edition.goldens()}
    assert set(edition.PRESETS) <= known
    for preset in edition.PRESETS:
        for factor in FACTORS:
            for level in names(factor):
                advice = "add it: python -m lenet.training.edition write"
                assert f"{preset} {factor}={level}" in known, advice
    for golden in edition.goldens():
        assert golden.keys() == edition.Golden.__required_keys__
        assert re.fullmatch("[0-9a-f]{64}", golden["sha256"]), golden["name"]


def test_this_code_is_the_edition() -> None:
    """Every golden comes out bit for bit: they were trained before the tests, and a
    proof was left, or else are trained now."""
    edition.prove()


@pytest.mark.slow
def test_edge_of_the_edition_is_what_training_imports() -> None:
    """All modules of lenet that training loads are covered, save what it reads its
    configuration with and locks files by; so nothing outside can change a bit."""
    script = "import sys, lenet.training.stack; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if name.startswith("lenet.")}
    covered = {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for pattern in edition.CODE
        for path in ROOT.glob(pattern)
    }
    packages = {
        name for name in loaded if (ROOT.parent / name.replace(".", "/")).is_dir()
    }
    assert loaded - covered - packages == {"lenet.config", "lenet.file_lock"}


def test_what_came_out_otherwise_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New code trains the goldens once; an unequal one is named, with both ways out."""
    two = edition.goldens()[:2]
    trained = []

    def count(golden: edition.Golden) -> edition.Golden:
        trained.append(golden["name"])
        return golden

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    proofs = tmp_path / "kept" / "proofs"
    proofs.mkdir(parents=True)
    monkeypatch.setattr(
        "lenet.training.user_cache.cache_folder", lambda name: str(proofs)
    )
    monkeypatch.setattr(edition, "goldens", lambda: two)
    monkeypatch.setattr(edition, "fingerprint", lambda: "a" * 64)
    monkeypatch.setattr(edition, "trained", lambda golden: {**golden, "sha256": "0"})
    with pytest.raises(Refusal, match="edition write") as refused:
        edition.prove()
    assert two[1]["name"] in str(refused.value) and "Mend it" in str(refused.value)
    monkeypatch.setattr(edition, "trained", count)
    edition.prove()
    edition.prove()
    assert trained == [golden["name"] for golden in two]  # once


def test_one_process_proves_while_others_wait(tmp_path: Path) -> None:
    """Two that begin at once train the goldens once between them."""
    proofs = tmp_path / "proofs"
    proofs.mkdir()
    program = f"""
import sys, time
from lenet.training import edition, user_cache
user_cache.cache_folder = lambda name: {str(proofs)!r}
def slow(golden):
    print("trained")
    time.sleep(1)
    return golden
edition.trained, known = slow, edition.goldens()[:2]
edition.goldens = lambda: known
edition.prove()
"""
    line = [sys.executable, "-c", program]
    both = [
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(out.decode().split() for out, _ in outputs) == [[], ["trained"] * 2]
    assert len(list(proofs.iterdir())) == 1  # the proof; the lock is gone


def test_another_edition_needs_its_own_goldens(monkeypatch: pytest.MonkeyPatch) -> None:
    """EDITION cannot be raised without writing them."""
    monkeypatch.setattr(edition, "EDITION", 99)
    with pytest.raises(Refusal, match="edition write"):
        edition.goldens()


# (file, what stands there, what is put in its place): each a change of some bit.
MUTATIONS = (
    (
        "training/factor/activation.py",
        "AMPLITUDE, SLOPE = 1.7159, 2 / 3",
        "AMPLITUDE, SLOPE = 1.7259, 2 / 3",
    ),
    (
        "training/factor/activation.py",
        "return leaky(a, 0.01)",
        "return leaky(a, 0.02)",
    ),
    (
        "training/factor/activation.py",
        "return a * below, a * density + below",
        "return a * below, a * density + density",
    ),
    (
        "training/factor/pooling.py",
        "[0.25] * 4",
        "[0.26] * 4",
    ),
    (
        "training/factor/pooling.py",
        "return a + b + c + d, [1.0] * 4",
        "return a + b + (c + d), [1.0] * 4",
    ),
    (
        "training/factor/head.py",
        "pulls = [share - goal for share",
        "pulls = [share + goal for share",
    ),
    (
        "training/factor/head.py",
        "scores[0] * 0.0",
        "scores[0] * 0.001",
    ),
    (
        "training/factor/optimizer.py",
        "v = v + (g * g - v) * n.rest\n    return m",
        "v = v + (g - v) * n.rest\n    return m",
    ),
    (
        "training/factor/optimizer.py",
        "return m * n.first + g, m, v",
        "return m, m, v",
    ),
    (
        "training/factor/optimizer.py",
        "return scale / (1 - power(first, steps)), scale",
        "return scale, scale",
    ),
    (
        "training/factor/schedule.py",
        "0.4, 0.4, 0.4",
        "0.4, 0.4, 0.5",
    ),
    (
        "training/factor/schedule.py",
        "PAPER = (1.0, 1.0",
        "PAPER = (1.0, 0.9",
    ),
    (
        "training/factor/order.py",
        "reshuffle(streams, 0, images)",
        "reshuffle(streams, epoch, images)",
    ),
    (
        "training/factor/init.py",
        "(2.4 / fan_in)",
        "(2.3 / fan_in)",
    ),
    (
        "training/factor/init.py",
        "for _ in range(2 if place else 0)",
        "for _ in range(0)",
    ),
    (
        "training/factor/input.py",
        "return 1.275, -0.1",
        "return 1.275, -0.11",
    ),
    (
        "training/factor/augmentation.py",
        "/ 360",
        "/ 361",
    ),
    (
        "training/factor/norm.py",
        "EPSILON = 1e-5",
        "EPSILON = 1e-4",
    ),
    (
        "training/factor/norm.py",
        "MOMENTUM, MOMENTUM_BATCH = 0.1, 64",
        "MOMENTUM, MOMENTUM_BATCH = 0.2, 64",
    ),
    (
        "training/draws.py",
        "(key >> 40)",
        "(key >> 39)",
    ),
    (
        "training/draws.py",
        "-2 * portable.log",
        "-2.1 * portable.log",
    ),
    (
        "training/data.py",
        '"digits"), torch',
        '"digit"), torch',
    ),
    (
        "training/recipe.py",
        "< share) / share",
        "< share) * share",
    ),
    (
        "training/stack.py",
        "values * (1 - kept) + before * kept",
        "values * kept + before * (1 - kept)",
    ),
    (
        "training/recipe.py",
        '"optimizer.samples"))\n        keys',
        '"optimizer.samples")) - 7\n        keys',
    ),
    (
        "training/portable_functions.py",
        "turns.double() + 0.25",
        "turns.double() + 0.2500001",
    ),
    (
        "training/loops/llvm.py",
        "6.37261928935876e-04",
        "6.37261928935876e-03",
    ),
    (
        "training/loops/llvm.py",
        "1 / 24, 1 / 6, 1 / 2",
        "1 / 25, 1 / 6, 1 / 2",
    ),
    (
        "training/loops/attacked_images.py",
        "change = min(max(change, -epsilon), epsilon)",
        "change = change",
    ),
    (
        "training/loops/second_derivatives.py",
        "p * (np.float32(1) - p)",
        "p",
    ),
    (
        "training/loops/input_image.py",
        "px + shift - np.float32(column)",
        "np.float32(0)",
    ),
    (
        "training/loops/maps.py",
        "g[k + kx] = total[kx][0][0] + total[kx][1][0]",
        "g[k + kx] = total[kx][0][0]",
    ),
    (
        "training/loops/single.py",
        "g[K.c3 + k, lane] *= mask[k, lane]",
        "g[K.c3 + k, lane] *= 1",
    ),
    (
        "training/loops/batch.py",
        "np.float32(1) / np.float32(stop - start)",
        "np.float32(1) / np.float32(updates.size)",
    ),
)


def test_changes_are_of_the_text_as_it_is() -> None:
    """Each of them changes something; the slow test below tries what."""
    for place, before, after in MUTATIONS:
        text = (ROOT / place).read_text(encoding="utf-8")
        assert before in text and before != after, f"{place}: {before}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "place, before, after",
    MUTATIONS,
    ids=[f"{m[0]}-{i}" for i, m in enumerate(MUTATIONS)],
)
def test_changed_formula_draw_or_constant_is_refused(
    place: str, before: str, after: str, tmp_path: Path
) -> None:
    """A copy of the package with one thing changed is not the edition."""
    shutil.copytree(
        ROOT.parent, tmp_path, dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__", ".git", "outputs", "tests", ".*"),
    )  # fmt: skip
    path = tmp_path / "lenet" / place
    text = path.read_text(encoding="utf-8")
    assert before in text, "the mutation is of an older text"
    path.write_text(text.replace(before, after), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    if ROOT / place not in cache.sources():  # the same machine code: compiled already
        environment["NUMBA_CACHE_DIR"] = str(ROOT / "training" / "__pycache__")
    done = subprocess.run(
        [sys.executable, "-m", "lenet.training.edition"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=550,
    )  # fmt: skip
    assert done.returncode in (2, 3), done.stderr
    assert "edition" in done.stderr or "expected" in done.stderr


# --- The same bits on every processor -------------------------------------------------

PROCESSORS: dict[str, dict[str, str]] = {
    "as it is": {},
    "haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    "ATEN default": {"ATEN_CPU_CAPABILITY": "default"},
    "ATEN AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "libm without FMA": {
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2_Usable,-AVX2,-AVX512F"
    },
    "two threads": {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"},
}
WIDER = {"skylake-avx512": "avx512f", "znver4": "avx512f", "sapphirerapids": "avx512f"}


def flags() -> str:
    """What instructions this processor has, as Linux tells."""
    info = Path("/proc/cpuinfo")
    return info.read_text(encoding="utf-8") if info.exists() else ""


PROCESSORS |= {
    name: {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""}
    for name, needed in WIDER.items()
    if needed in flags()
}
SCRIPT = """
import hashlib, sys
import torch
from lenet.training import stack
from lenet.config import Config
from lenet.training import edition
hashed = hashlib.sha256()
for golden in edition.goldens():
    hashed.update(edition.trained(golden)["sha256"].encode())
for count in (3, 8, 11):
    golden = edition.goldens()[0]
    treatment = edition.current(golden["treatment"])
    runs = [Config(treatment, seed) for seed in range(count)]
    for result in stack.train(runs, edition.golden_data()):
        hashed.update(edition.sha256_of_result(result).encode())
print(hashed.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_bits_are_the_same_on_every_processor(tmp_path: Path) -> None:
    """Every level of every factor, and stacks of 3, 8 and 11, in fresh processes that
    compile for another processor, or whose libraries take another path."""
    hashes = {}
    for name, changes in PROCESSORS.items():
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **changes}
        if "NUMBA_CPU_NAME" in changes:
            environment["NUMBA_CACHE_DIR"] = str(tmp_path / name)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True, text=True, env=environment, check=True,
        )  # fmt: skip
        hashes[name] = done.stdout.strip()
    assert len(set(hashes.values())) == 1, json.dumps(hashes, indent=1)
    assert hashlib.sha256(b"").hexdigest() not in hashes.values()


# --- A level is one function and one file ---------------------------------------------

MISH = '''

def mish(a: Number) -> tuple[Number, Number]:
    """a tanh(log(1 + e^a)) (Misra, 2019)."""
    e = a.clamp(-40.0, 20.0).exp()
    n = e * (e + 2)
    t = n / (n + 2)
    return a * t, t + a * (e * (e + 1) * 4) / ((n + 2) * (n + 2))


LEVELS["mish"] = mish
'''
TRAIN = """
from unittest.mock import patch
from lenet.training import compiled, data, stack
from lenet.config import composed
line = ["data=digits", "activation=mish", "epochs=1", "train_size=100"]
configs, _ = composed([*line, "optimizer=sgd", "optimizer.lr=0.001", "pooling=max"])
digits = data.load_data("digits", None)
assert compiled.can_run(stack.Stack.start(configs, digits).model)
fast = stack.train(configs, digits)[0].weights
with patch.object(compiled, "can_run", lambda model: False):
    plain = stack.train(configs, digits)[0].weights
print(max(float((fast[name] - plain[name]).abs().max()) for name in fast))
"""


@pytest.mark.slow
def test_new_level_is_one_function_and_one_file(tmp_path: Path) -> None:
    """mish, written once, runs compiled from the start, as autograd has it; no golden
    of the edition changes by it."""
    shutil.copytree(
        ROOT.parent, tmp_path, dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__", ".git", "outputs", "tests", ".*"),
    )  # fmt: skip
    with open(tmp_path / "lenet/training/factor/activation.py", "a") as file:
        file.write(MISH)
    level = 'name: mish\nlabel: Mish\nyear: 2019\nsource: "Misra, arXiv 1908.08681"\n'
    (tmp_path / "conf" / "activation" / "mish.yaml").write_text(level)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for line in (["-c", TRAIN], ["-m", "lenet.training.edition"]):
        done = subprocess.run(
            [sys.executable, *line],
            capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if "-c" in line:
            assert float(done.stdout) < 1e-5
