"""The command `lenet interpret`, what it keeps, and its charts."""

import ast
import gzip
import inspect
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_texts import check_texts, content

from lenet import train
from lenet.commands import interpret as command
from lenet.commands import robustness as attack_command
from lenet.config import Refusal, composed
from lenet.figures import interpretation_curves
from lenet.interpret import analysis
from lenet.interpret.analysis import (
    METHODS,
    SPECS,
    read_result,
    with_number,
    write_result,
)
from lenet.records import seal, store
from lenet.studies.statistics import sign_flip
from lenet.sweep import design
from lenet.training.model import LAYERS

KEYS = ["data=digits", "epochs=1", "train_size=120", "replicates=2", "optimizer=adam"]
KEYS += ["augmentation=none"]
SMALL = ["probe.train=100", "probe.test=50", "probe.attack_steps=2", "sae.steps=20"]
SMALL += ["sae.train=100", "sae.test=50", "sae.active=[2,4]", "sae.penalty=[1]"]
SMALL += ["saliency.nodes=2", "saliency.samples=2", "sanity.images=5", "sanity.steps=2"]


def interpret(*typed):
    """What `lenet interpret` does with these arguments."""
    print(command.main(typed).text)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two seeds of each preset, trained for a moment, and where they lie."""
    folder = str(tmp_path_factory.mktemp("outputs"))
    for preset in ("paper", "modern"):
        typed = [f"preset={preset}", *KEYS, f"output_dir={folder}"]
        train.train_missing(*composed(typed))
    return Path(folder)


def one_of(outputs, activation="relu"):
    """The record of seed 0 with an activation."""
    records = store.finished_records(str(outputs))
    named = {(r["treatment"]["activation"], r["seed"]): r for r in records}
    return named[activation, 0]


@pytest.mark.slow
def test_one_run_is_interpreted_beside_its_record_and_once(outputs, capsys):
    """Every figure and table; the second time nothing is computed, and a changed
    number computes what reads it and nothing else."""
    name = one_of(outputs)["run_id"]
    place = outputs / "runs" / name / "interpretation"
    interpret(f"run={name[:10]}", f"output_dir={outputs}", *SMALL)
    captured = capsys.readouterr()
    written = {path.name for path in place.iterdir() if path.is_file()}
    assert set(captured.out.splitlines()) == {str(place / file) for file in written}
    pictures = ("layers", "saliency", "gradcam", "latents", "confusion", "mistakes")
    expected = {f"{stem}.png" for stem in (*pictures, "probes", "sae", "sanity")}
    expected |= {"probes.csv", "probe_accuracy.csv", "probe_selectivity.csv"}
    expected |= {"probe_training.csv", "sae.csv", "sae_unexplained.csv"}
    expected |= {"faithfulness.csv", "randomisation.csv", "mistakes.csv"}
    expected |= {f"{stem}.svg" for stem in ("probes", "sae", "sanity")}
    assert written == expected
    assert "kept" not in captured.err
    interpret(f"run={place.parent}", *SMALL)
    assert capsys.readouterr().err.count("kept") == len(METHODS)
    interpret(f"run={name}", f"output_dir={outputs}", *SMALL, "sae.steps=21")
    assert capsys.readouterr().err.count("kept") == len(METHODS) - 1
    assert store.finished_record(str(outputs), name) == one_of(outputs)


@pytest.fixture
def two(outputs):
    """The study of both presets, with its plan and records."""
    records = list(store.finished_records(str(outputs)))
    base = one_of(outputs, "scaled_tanh")["treatment"]
    own = {False: [], True: []}
    for record in records:
        own[record["treatment"]["activation"] == "relu"].append(record["run_id"])
    changes = {"activation": "relu", "pooling": "max"}
    levels = {"practice": "modern"}
    today = one_of(outputs, "relu")["treatment"]
    plan = {"study": "two", "preset": "paper", "factors": list(changes)}
    plan |= {"design": "two", "kind": "one_factor", "levels": {"practice": {}}}
    plan |= {"seeds": sorted({record["seed"] for record in records})}
    plan |= {"reference": base, "runs": [record["run_id"] for record in records]}
    plan |= {"search_seeds": [], "data": {}, "code": records[0]["code"]}
    plan["arms"] = [
        {"name": "reference", "levels": {}, "changes": {}, "runs": own[False]},
        {"name": "modern", "levels": levels, "changes": changes, "runs": own[True]},
    ]
    for arm, treatment in zip(plan["arms"], (base, today), strict=True):
        arm["treatment"] = treatment
    folder = outputs / "two"
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(seal.sealed(plan)))
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "records.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


@pytest.mark.slow
def test_the_treatments_of_a_study_stand_side_by_side(outputs, two):
    """All in one table and one figure, and their difference by seed; a picture each."""
    chosen = ["methods=[probe,mistakes]", f"output_dir={outputs}"]
    interpret("study=two", *chosen, *SMALL)
    table = pd.read_csv(two / "probes.csv")
    assert set(table["network"]) == {"paper", "modern"}
    assert set(table["seed"]) == {0, 1}
    pair = pd.read_csv(two / "probe_networks.csv")
    digit = table[(table["task"] == "class") & (table["weights"] == "trained")]
    clean = digit[(digit["images"] == "clean") & (digit["layer"] == "S4")]
    means = clean.groupby("network")["accuracy"].mean()
    row = pair.query("layer == 'S4' and weights == 'trained' and images == 'clean'")
    gap = means["modern"] - means["paper"]
    assert row["mean"].item() == pytest.approx(gap, abs=1e-5)
    pictures = {path.name for path in two.glob("mistakes*.png")}
    assert pictures == {"mistakes_paper.png", "mistakes_modern.png"}


@pytest.mark.parametrize(
    ("treatment", "name"),
    [
        ("[practice=modern]", "modern"),
        ("[activation=relu,pooling=max]", "modern"),
        ("[]", "paper"),
    ],
)
def test_a_treatment_is_named_by_its_difference(outputs, two, capsys, treatment, name):
    """By its levels or by all that they set; nothing is the base."""
    chosen = [f"output_dir={outputs}", "methods=[mistakes]", f"treatment={treatment}"]
    interpret("study=two", *chosen)
    err = capsys.readouterr().err
    assert err.count("mistakes") == 2
    assert err.count(f"{name}, seed") == 2


def test_a_treatment_that_is_not_there_is_refused_with_those_that_are(outputs, two):
    """By the names under which they are shown."""
    with pytest.raises(Refusal, match="one of: paper; modern"):
        interpret("study=two", f"output_dir={outputs}", "treatment=[activation=gelu]")


def test_the_design_is_the_two_presets():
    """Six seeds of each, the fewest that an interval needs."""
    plan = design.load_design("interpretation", [])
    presets = [composed([f"preset={name}"])[0][0] for name in ("paper", "modern")]
    treatments = [dict(arm.treatment) for arm in plan.arms]
    assert treatments == [dict(preset.treatment) for preset in presets]
    assert len(plan.seeds) >= interpretation_curves.ENOUGH == 6


def test_published_weights_are_enough(outputs, two, tmp_path, capsys):
    """In a clone the study's folder has the records of all runs and some weights."""
    clone = tmp_path / "two"
    shutil.copytree(two, clone)
    record = one_of(outputs)
    place = store.run_folder(str(outputs), record["run_id"])
    (clone / "weights").mkdir()
    shutil.copy(
        place / "model.safetensors",
        clone / "weights" / f"{record['run_id']}.safetensors",
    )
    typed = [f"output_dir={tmp_path}", "methods=[mistakes]"]
    with pytest.raises(Refusal, match="overwritten"):
        interpret("study=two", *typed, "treatment=[practice=modern]")
    assert {path.name for path in clone.iterdir()} == {*os.listdir(two), "weights"}
    typed.append("allow_partial=true")
    interpret("study=two", *typed, "treatment=[practice=modern]")
    assert "1 of 2 runs of modern have no weights" in capsys.readouterr().err
    with pytest.raises(Refusal, match="2 of 2 runs of paper have no weights"):
        interpret("study=two", *typed)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "say which runs"),
        (["run=x", "study=b"], "say which runs"),
        (["run=x", "methods=[probes]"], "did you mean probe"),
        (["run=x", "methods=[]"], "methods= names none"),
        (["run=x", "probe.trian=5"], "did you mean train"),
        (["run=x", "probe.train=five"], "not a number"),
        (["run=x", "probe.train=0"], "1 or more"),
        (["run=x", "sae.layer=F7"], "layer 'F7' is unknown; layers: C1, C3, C5, F6"),
        (["run=x", "gradcam.layer=F6"], "C1, C3, S2, S4"),
        (["run=x", "gradcam.stretch=yes"], "true or"),
        (["run=x", "sae.active=[1,x]"], "not a list"),
        (["run=x", "layers.image=-1"], "from 0"),
        (["run=x", "epochs=3"], "unknown"),
        (["run=x"], "fits 0 of"),
        (["run"], "write"),
        (["run=x", "method=[probe]"], "did you mean methods"),
        (["study=none"], "holds no plan"),
    ],
)
def test_what_is_typed_wrongly_is_refused_with_the_fix(outputs, typed, said):
    """Before anything is computed."""
    with pytest.raises(Refusal, match=said):
        interpret(*typed, f"output_dir={outputs}")


def test_runs_without_weights_are_refused(outputs, tmp_path):
    """By name and place; damaged weights are refused by their hash."""
    record = one_of(outputs)
    place = tmp_path / "runs" / record["run_id"]
    place.mkdir(parents=True)
    (place / "record.json").write_text(json.dumps(record))
    with pytest.raises(Refusal, match="no weights in .*only their records are here"):
        interpret(f"run={record['run_id']}", f"output_dir={tmp_path}")
    (place / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(Refusal, match="SHA-256"):
        interpret(
            f"run={record['run_id']}", f"output_dir={tmp_path}", "methods=[mistakes]"
        )


def test_an_image_that_is_not_there_is_refused(outputs):
    """With the numbers that there are."""
    name = one_of(outputs)["run_id"]
    with pytest.raises(Refusal, match="0 to 499"):
        interpret(
            f"run={name}",
            f"output_dir={outputs}",
            "methods=[layers]",
            "layers.image=500",
        )


def test_a_kept_result_is_the_result(tmp_path):
    """Missing numbers stay missing, and names that look like missing stay names."""
    table = pd.DataFrame(
        {
            "layer": ["none", "NA", "C1"],
            "x": [0.1 + 0.2, np.nan, 1e-300],
            "n": [1, 2, 3],
        }
    )
    array = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    write_result(tmp_path / "method-1", {"table": table, "array": array})
    kept = read_result(tmp_path / "method-1")
    pd.testing.assert_frame_equal(kept["table"], table, check_dtype=False)
    assert np.array_equal(kept["array"], array)
    write_result(tmp_path / "method-1", {"table": table})  # the first writer wins
    assert set(read_result(tmp_path / "method-1")) == {"table", "array"}
    assert [path.name for path in tmp_path.iterdir()] == ["method-1"]


def test_numbers_are_read_as_what_they_are():
    """Whole numbers, lists, words and switches; the others stay."""
    specs = SPECS
    for key, text in (
        ("probe.train", "700"),
        ("sae.active", "[3,5]"),
        ("sae.lr", "0.5"),
    ):
        specs = with_number(specs, key, text)
    specs = with_number(specs, "gradcam.stretch", "true")
    assert specs["probe"].train == 700
    assert specs["probe"].test == SPECS["probe"].test
    assert specs["sae"].active == (3, 5)
    assert specs["sae"].lr == 0.5
    assert specs["gradcam"].stretch is True
    assert analysis.SPECS["gradcam"].stretch is False


def many(seeds):
    """Tables of two networks as the methods make them, of invented numbers."""
    rng = np.random.default_rng(1)
    runs = [(n, s) for n in ("paper", "modern") for s in range(seeds)]
    probes = [
        (n, s, w, i, layer, 0.9 + 0.01 * k + 0.01 * rng.random())
        for n, s in runs
        for k, layer in enumerate(LAYERS)
        for w, i in (
            ("trained", "clean"),
            ("trained", "attacked"),
            ("untrained", "clean"),
        )
    ]
    columns = ["network", "seed", "weights", "images", "layer", "accuracy"]
    sae = [
        (n, s, w, m, k, float(k), 1 / (k + 1) + 0.1 * rng.random(), 0.1, 0.02)
        for n, s in runs
        for w in ("trained", "untrained")
        for m in ("topk", "l1", "pca", "mean", "itself")
        for k in (1, 8)
    ]
    names = ["network", "seed", "weights", "method", "setting", "l0", "fvu", "dead"]
    faithful = [
        (n, s, o, t, x, rng.random(), 200)
        for n, s in runs
        for o in interpretation_curves.NAMES
        for t in ("deletion", "insertion")
        for x in (0.0, 0.5, 1.0)
    ]
    shares = ["network", "seed", "order", "test", "share", "kept", "n"]
    likeness = [
        (n, s, m, layer, rng.random(), rng.random(), 0.3)
        for n, s in runs
        for m in list(interpretation_curves.NAMES)[:5]
        for layer in ("none", *LAYERS)
    ]
    measures = ["network", "seed", "method", "layer", "signed", "magnitude", "ink"]
    return (
        pd.DataFrame(probes, columns=columns),
        pd.DataFrame(sae, columns=[*names, "error"]).assign(n=100, n_train=200),
        pd.DataFrame(faithful, columns=shares),
        pd.DataFrame(likeness, columns=measures),
    )


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 6])
def test_charts_say_how_many_seeds_they_have_and_keep_their_texts_apart(seeds):
    """With too few for an interval the caption says so."""
    probes, sae, faithful, likeness = many(seeds)
    keys = ["network", "weights", "images", "layer"]
    accuracy = interpretation_curves.seed_means(probes, keys, "accuracy")
    drawn = (
        interpretation_curves.probe_chart(accuracy, accuracy),
        interpretation_curves.sae_chart(sae, "F6"),
        interpretation_curves.sanity_chart(faithful, likeness),
    )
    remark = "n = 6 seeds; lines are means" if seeds == 6 else "n = 1 seed: too few"
    for figure in drawn:
        check_texts(figure)
        assert remark in content(figure).replace("\n", " ")


def test_intervals_are_those_of_the_effects():
    """The exact sign-flip interval from 6 seeds on, none below; pairs share a seed."""
    probes = many(6)[0]
    keys = ["network", "weights", "images", "layer"]
    means = interpretation_curves.seed_means(probes, keys, "accuracy")
    row = means.query(
        "network == 'paper' and weights == 'trained' and images == 'clean'"
    )
    own = probes.query(
        "network == 'paper' and weights == 'trained' and images == 'clean'"
    )
    for layer in LAYERS:
        values = own[own["layer"] == layer]["accuracy"].to_numpy()
        _, low, high = sign_flip(values)
        at = row[row["layer"] == layer]
        assert at[["mean", "low", "high"]].to_numpy()[0] == pytest.approx(
            [values.mean(), float(low), float(high)]
        )
    few = interpretation_curves.seed_means(probes[probes["seed"] < 5], keys, "accuracy")
    assert few["low"].isna().all()
    assert set(few["n"]) == {5}
    pair = interpretation_curves.paired(
        probes,
        "network",
        ("paper", "modern"),
        ["weights", "images", "layer"],
        "accuracy",
    )
    gap = probes[probes["network"] == "modern"].merge(
        probes[probes["network"] == "paper"], on=["seed", "weights", "images", "layer"]
    )
    gap = gap.assign(difference=gap["accuracy_x"] - gap["accuracy_y"])
    first = gap.query("weights == 'trained' and images == 'clean' and layer == 'C1'")
    row = pair.query("weights == 'trained' and images == 'clean' and layer == 'C1'")
    assert row["mean"].item() == pytest.approx(first["difference"].mean())
    assert row["high"].item() == pytest.approx(
        sign_flip(first["difference"].to_numpy())[2]
    )


def imported_by(*names):
    """The modules of lenet/interpret that these are made of, themselves among them."""
    folder = Path(analysis.__file__).parent
    seen, left = set(), list(names)
    while left:
        if (name := left.pop()) in seen:
            continue
        seen.add(name)
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            parts = node.module.split(".")
            if parts[:2] == ["lenet", "interpret"]:
                left += parts[2:] or [alias.name for alias in node.names]
    return seen


def test_code_of_results_is_all_that_the_analyses_import():
    """An edit of any of it makes kept results old; of another module it does not."""
    assert imported_by("analysis") == set(analysis.CODE)


def test_code_of_attacks_is_all_that_they_import():
    """The same of treatments that `lenet robustness` keeps when it is interrupted."""
    paths = [Path(inspect.getsourcefile(source)) for source in attack_command.SOURCES]
    known = {path.stem for path in paths if path.parent.name == "interpret"}
    assert imported_by("robustness", "smallest_radii", "compiled_network") == known
