"""README and docs say what the records say, and what they show can be typed.

CLAIMS holds what a document states with a number, as it stands there but with {...} in
the place of each number. To state one more, write it into the document and here. A
claim that is not there fails; so does, in README and findings, a number that no claim
covers.

    python tests/test_readme.py     prints the claims that the documents do not have, as
                                    the records now give them
"""

import importlib
import math
import re
import shlex
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from marks import mostly_slow
from scipy import stats

from lenet import train
from lenet.__main__ import VERBS, module_docstring
from lenet.commands import sweep as command
from lenet.config import composed, current, group_levels
from lenet.figures.canvas import FORMATS
from lenet.records import run_record, store
from lenet.records.overfitting import overfitting
from lenet.records.record_types import Record
from lenet.report import effect_tables, exhibit_files, study_report
from lenet.rounding import decimals
from lenet.studies import corrected_labels, study
from lenet.studies.corrected_labels import CORRECTED
from lenet.studies.effect import (
    GUESSING,
    LADDER,
    MAIN,
    PAIR,
    PATH,
    SIMPLE,
    TEST_ERROR,
)
from lenet.studies.statistics import prediction_interval
from lenet.sweep import design
from lenet.training import model
from lenet.training.data import Data

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
        *sorted((ROOT / "docs").rglob("*.md")),
    )
}
README = DOCUMENTS["README.md"]
# Pages that tests/test_docs.py follows step by step, in an empty folder.
FOLLOWED = ("docs/api.md", "docs/command.md", "docs/your_own_runs.md")
SHOWN = [text for name, text in DOCUMENTS.items() if name not in FOLLOWED]
WORDS, PARAGRAPH = 900, 60  # at most in the README, and in a paragraph of it
SENTENCES, LONGEST = 5, 25  # of its findings, and the words of one
OUTPUTS, EFFECTS = ROOT / "outputs", "effects.csv"
STUDIES = sorted(path.parent.name for path in OUTPUTS.glob("*/plan.json"))

# A field is what str.format finds: {<study>[<arm>].test[20].mean:.2f}. A study is one
# in outputs/; an arm is `reference`, an arm of its plan or settings of its treatment;
# see Arm for what it has, and known() for the rest.
SINGLE = (  # a change of one level: its name, the factor, 1998's level and today's
    ("small distortions", "augmentation", "none", "affine"),
    ("standardised input", "input", "range_1998", "standardize"),
    ("softmax for RBF units", "head", "rbf", "softmax"),
    ("ReLU for scaled tanh", "activation", "scaled_tanh", "relu"),
    ("Kaiming's initialisation", "init", "lecun_sqrt", "kaiming"),
    ("max pooling for subsampling", "pooling", "subsample", "max"),
    ("full connection for Table I", "connection", "table", "full"),
    ("Adam, batch 64, for second-order steps", "optimizer", "sdlm", "adam"),
    ("cosine schedule", "schedule", "steps_1998", "cosine"),
    ("new order in each pass", "order", "constant", "reshuffle"),
)
GROUP = (  # changes that the ladder and the factorial make together
    ("**units**: ReLU, Kaiming's", "units"),
    ("**structure**: max, full", "structure"),
    ("**training**: Adam, cosine, new order", "training"),
)
STEPPED = ("augmentation", "input", "head")  # single ones that are a step by themselves


def single(name: str, factor: str, then: str, now: str) -> str:
    """The row of the table of findings for a change of one level."""
    alone = f"| {{one_factor[{factor}={now}].cell}} "
    today = f"| {{leave_one_out[{factor}={then}].undone}} |"
    return f"| {name} {alone}{today}" + (steps(factor) if factor in STEPPED else " | |")


def group(name: str, factor: str) -> str:
    """The row of the table of findings for changes that are made together."""
    ends = "".join(
        f"| {{factorial.alone[{end}][{factor}].cell}} " for end in ("paper", "modern")
    )
    return f"| {name} {ends}|" + steps(factor)


def steps(factor: str) -> str:
    """The last two cells of a row."""
    return f" {{ladder.steps[{factor}].cell}} | {{factorial.main[{factor}].cell}} |"


READINGS = (  # a way to read the paper: its name here, its study and its arm
    ("4 h, the preset", "paper_1998[reference]"),
    ("h", "paper_readings[reading=h]"),
    ("2 h", "paper_readings[reading=2 h]"),
    ("3 h", "paper_readings[reading=3 h]"),
    ("h of before pass 1", "paper_readings[reading=h of before pass 1]"),
    (
        "h of before pass 1, LUSH's init",
        "paper_readings[reading=LUSH's init, h of before pass 1]",
    ),
    ("h, half of it kept", "paper_readings[reading=h, half kept]"),
    ("4 h, eq. 9, j = 0", "paper_eq9_j[reading=eq. 9, j = 0, 4 h]"),
    ("4 h, eq. 9, j = 0.25", "paper_eq9_j[reading=eq. 9, j = 0.25, 4 h]"),
    ("4 h, eq. 9, j = 0.5", "paper_eq9_j[reading=eq. 9, j = 0.5, 4 h]"),
    ("4 h, eq. 9, j = 1", "paper_readings[reading=eq. 9, j = 1, 4 h]"),
    ("4 h, eq. 9, j = 2", "paper_eq9_j[reading=eq. 9, j = 2, 4 h]"),
    ("4 h, eq. 9, j = 3", "paper_readings[reading=eq. 9, j = 3, 4 h]"),
    ("4 h, eq. 9, j = 10", "paper_readings_more[reading=eq. 9, j = 10, 4 h]"),
    ("h, eq. 8 doubled", "paper_readings_more[reading=energy doubled, h]"),
    ("h, eq. 8 halved", "paper_readings_more[reading=energy halved, h]"),
    ("h, printed init", "paper_readings_more[reading=printed init, h]"),
    ("4 h, printed init", "paper_readings_more[reading=printed init, 4 h]"),
    ("4 h, LUSH's init", "paper_readings_more[reading=LUSH's init, 4 h]"),
)
BEST = (  # what the best LeNet-5 has and that of today has not, and its arm without
    ("Muon for Adam", "optimizer=adam"),
    ("one-cycle schedule for cosine", "schedule=cosine"),
    ("label smoothing of 0.05", "head.smoothing=0"),
    ("60 passes for 20", "epochs=20"),
)
BEYOND = (  # what LeNet-5 of today has not, and its arm of beyond_modern
    ("Muon for Adam", "optimizer=muon"),
    ("AdamW for Adam", "optimizer=adamw"),
    ("eight teachers", "teacher=eight runs"),
    ("eight teachers, asked of each image", "teacher=eight runs, consistent"),
    ("dropout of 0.1", "dropout=0.1"),
    ("label smoothing of 0.05", "head.smoothing=0.05"),
    ("batch norm", "norm=batch"),
    ("weights averaged, ema", "average=ema"),
    ("one-cycle schedule for cosine", "schedule=one_cycle"),
    ("weights averaged, swa at a constant rate", "average=swa at a constant rate"),
    ("larger distortions", "augmentation=larger"),
    ("mixup", "mix=mixup"),
    ("cutout besides", "augmentation=cutout"),
    ("elastic distortions besides", "augmentation=elastic"),
)
PASSES = (20, 40, 60, 80, 160)  # of the best LeNet-5, in outputs/best_passes
WIDTHS = {"half": 0.5, "LeNet-5's": 1, "double": 2}  # rows of outputs/width_curve
ATTACKED = (  # rows of docs/robustness.md, and what the tables call them
    ("of today", "LeNet-5 of today"),
    ("Table I and subsampling", "Table I and subsampling"),
    ("scaled tanh, LeCun's init", "scaled tanh and LeCun's initialisation"),
    ("RBF units", "RBF units for softmax"),
    (
        "all of these",
        "scaled tanh, Table I, RBF units, LeCun's initialisation and subsampling",
    ),
    ("tanh and average pooling", "tanh and average pooling"),
    ("training on FGSM", "training on FGSM"),
)
CLOSED = (  # readings of paper_closed and paper_closed_more
    ("4 h, the preset", "paper_closed[reference]"),
    ("h", "paper_closed[reading=h]"),
    ("h, mu 0.1", "paper_closed[reading=mu 0.1]"),
    ("h, energy of 1/8", "paper_closed[reading=energy of 1/8]"),
    (
        "4 h, weights averaged over a pass",
        "paper_closed_more[reading=4 h, mean of the pass]",
    ),
    (
        "h, steps of 0.005 at most",
        "paper_closed_more[reading=h, steps of 0.005 at most]",
    ),
    (
        "h, steps of 0.016 at most",
        "paper_closed_more[reading=h, steps of 0.016 at most]",
    ),
    ("h of the first 500 images", "paper_closed_more[reading=h of the first 500]"),
    ("h of the first 100 images", "paper_closed_more[reading=h of the first 100]"),
    ("h, eq. 9, j = 50", "paper_closed_more[reading=eq. 9, j = 50, h]"),
    ("4 h, eq. 9, j = 50", "paper_closed_more[reading=eq. 9, j = 50, 4 h]"),
    ("4 h, eq. 9, j = 100", "paper_closed_more[reading=eq. 9, j = 100, 4 h]"),
    ("energy of 1/4", "paper_closed_more[reading=energy of 1/4]"),
    ("mean over the 84 units", "paper_closed_more[reading=mean over 84 units]"),
)
PAIRS = (
    *("head:training", "structure:training", "units:training", "units:head"),
    *("augmentation:head", "structure:head", "units:input", "structure:input"),
    *("units:augmentation", "input:training", "head:input", "augmentation:input"),
    *("units:structure", "augmentation:structure", "augmentation:training"),
)
THIRD_RUNG = (
    "head=softmax input=standardize structure=today augmentation=none units=1998 "
    "training=1998"
)
LAST_RUNG = (
    "head=softmax input=standardize structure=today augmentation=affine units=today "
    "training=today"
)
CLAIMS: dict[str, tuple[str, ...]] = {
    "README.md": (
        "# {quick} small networks",
        *(single(*change) for change in SINGLE),
        *(group(*change) for change in GROUP),
        "n = {one_factor[reference].n} seeds; Adam today: "
        "n = {leave_one_out[optimizer=sdlm].effect[n]}; bold rows alone: "
        "n = {factorial.alone[paper][units].effect[n]}; main effects: "
        "n = {factorial.main[units].effect[n]}",
        "With {relabelled[labels]} wrong test labels corrected or left out, "
        "{relabelled[verdicts]} of {relabelled[all]} verdicts differ.",
        "LeNet-5 misreads {paper_1998[reference].test[20].mean:.2f} % of the test "
        "digits as trained in 1998 and "
        "{modern[reference].test[20].mean:.2f} % as trained today "
        "(n = {modern[reference].n})",
        "{factorial.pairs[proven]} of {factorial.pairs[all]} pairs of changes interact",
        "{factorial.collapsed} of {factorial.runs:,} networks of all combinations "
        "collapses ({factorial.lost_share})",
        "| 60,000 | {paper_1998[reference].n} "
        "| {paper_1998[reference].test[20]} "
        "| {paper_1998[reference].test[20].one_run} | {fig6[60,000]} |",
        "| 60,000, training error | {paper_1998[reference].n} "
        "| {paper_1998[reference].train[20]} "
        "| {paper_1998[reference].train[20].one_run} | {fig5_train[20]} |",
        *(
            f"| {words} | {{paper_1998_size[{arm}].n}} "
            f"| {{paper_1998_size[{arm}].test[20]}} "
            f"| {{paper_1998_size[{arm}].test[20].one_run}} | {{fig6[{printed}]}} |"
            for words, arm, printed in (
                ("30,000", "train_size=30000", "30,000"),
                ("15,000", "train_size=15000", "15,000"),
                (
                    "60,000, 1998's distortions",
                    "augmentation=affine_1998",
                    "60,000 distorted",
                ),
            )
        ),
        "| 60,000, of today | {modern[reference].n} "
        "| {modern[reference].test[20]} | {modern[reference].test[20].one_run} | |",
        "| 60,000, at its best | {best[reference].n} "
        "| {best[reference].test[60]} | {best[reference].test[60].one_run} | |",
    ),
    "docs/findings.md": (
        *(
            f"| {name} | {{{arm}.n}} | {{{arm}.accuracy}} "
            f"| {{{arm}.accuracy.one_run}} |"
            for name, arm in (
                ("of today", "modern[reference]"),
                (
                    "of today, without distortions",
                    "leave_one_out[augmentation=none]",
                ),
                ("at its best", "best[reference]"),
            )
        ),
        "It misreads {best[reference].test[60]} % of the test digits, and with "
        "corrected labels {best[reference].corrected} % "
        "(n = {best[reference].n} seeds that chose nothing)",
        "from today (n = {ladder_best[reference].n}): Muon takes off "
        "{ladder_best.steps[optimizer].better} points",
        "The mean answer over {looks[best][looks]} looks at an image",
        "errs in {looks[best][error]} % of the test digits, so "
        "{looks[best][accuracy]} % are right, {looks[best][change]} points more than "
        "with one look (n = {looks[best][n]})",
        "puts each back to what it is today (n = {best_leave_one_out[reference].n})",
        *(f"| {words} | {{best_leave_one_out[{arm}].undone}} |" for words, arm in BEST),
        "adds each to LeNet-5 of today (n = {beyond_modern[reference].n})",
        *(f"| {words} | {{beyond_modern[{arm}].cell}} |" for words, arm in BEYOND),
        "for other numbers of passes (n = {best_passes[reference].n})",
        *(
            f"| {count} passes | {{best_passes[epochs={count}].test[{count}]}} "
            f"| {{best_passes[epochs={count}].train[{count}]}} |"
            for count in PASSES
        ),
        *(
            f"| {words} | {{wide[{words}][parameters]:,}} | {{wide[{words}][n]}} "
            f"| {{wide[{words}][mean]}} | {{wide[{words}][runs]}} |"
            for words in WIDTHS
        ),
        "Of the test labels of MNIST {relabelled[labels]} are wrong by human "
        "validation",
        "{paper_1998[reference].corrected} % in 1998 and "
        "{modern[reference].corrected} % today (n = {modern[reference].n})",
        "{relabelled[verdicts]} of {relabelled[all]} verdicts of the README's table "
        "differ",
        *(
            f"| {name} | {{leave_one_out[{arm}].undone}} "
            f"| {{leave_one_out.corrected[{arm}].undone}} |"
            for name, arm in (
                ("cosine schedule, today", "schedule=steps_1998"),
                ("softmax for RBF units, today", "head=rbf"),
            )
        ),
        *(
            f"| {name} | {{factorial.alone[{end}][{factor}].cell}} "
            f"| {{factorial.corrected.alone[{end}][{factor}].cell}} |"
            for name, factor, end in (
                ("**units**, today", "units", "modern"),
                ("**training**, 1998", "training", "paper"),
            )
        ),
        "from {ladder[reference].test[20].mean:.2f} to "
        f"{{ladder[{THIRD_RUNG}].test[20].mean:.2f}} %",
        f"to {{ladder[{LAST_RUNG}].test[20].mean:.2f}} % "
        f"(n = {{ladder[{LAST_RUNG}].n}}; {{modern[reference].test[20].mean:.2f}} over "
        "{modern[reference].n} seeds)",
        "better by {factorial.main[training].better} points on average",
        "and {factorial.alone[paper][training].effect[verdict]} alone in 1998: "
        "{factorial.alone[paper][training]}",
        "{factorial.collapsed} of its {factorial.runs:,} networks "
        "({factorial.lost_share})",
        "(n = {factorial[reference].n} seeds)",
        "the {factorial.main[units].effect[n]} seeds without",
        "{factorial.pairs[proven]} of the {factorial.pairs[all]} pairs",
        *(
            f"| {pair.replace(':', ' | ')} | {{factorial.pair[{pair}].cell}} |"
            for pair in PAIRS
        ),
        "the runs of {path[reference].n} others. Three of its six steps",
        "was chosen by {path.third} of {path.held_out:,} held-out images",
        "ReLU with its initialisation, {path.steps[units]} points; distortions, "
        "{path.steps[augmentation]}; and softmax for RBF units, {path.steps[head]}",
        "{paper_net.parameters:,} trainable parameters and {paper_net.connections:,} "
        "connections in 1998; {modern_net.parameters:,} parameters in the net",
    ),
    "docs/decisions/best_search.md": (
        "{looks[tuning_best_4][error].mean:.2f} for the fourth round's "
        "{looks[tuning_best_4][n]} runs",
        "looks in {looks[best][error].mean:.4f} %",
    ),
    "docs/reproduction_1998.md": (
        "{fig6[15,000]} % of 15,000 images near its upper end "
        "({paper_1998_size[train_size=15000].test[20].one_run}), "
        "{fig6[60,000 distorted]} % of distorted images near its lower "
        "({paper_1998_size[augmentation=affine_1998].test[20].one_run}), with our "
        "mean at {paper_1998_size[augmentation=affine_1998].test[20]}",
        "{unlearned[guess]} of {unlearned[all]} runs still guess after five passes, "
        "and the best reaches {unlearned[best]} % test error",
        "Ours follows it (n = {paper_log[reference].n}): each of its {log[passes]} "
        "test errors",
        "{log[steps]} of its {log[passes]} smallest steps",
        "| published, one run | | {fig5_train[1]} | {fig5_train[2]} "
        "| {fig5_train[3]} |",
        *(f"| {name} | {{{arm}.n}} | {{{arm}.row}} |" for name, arm in READINGS),
        "| published, one run | | {fig5_train[1]} {fig5_train[2]} {fig5_train[3]} "
        "{fig5_train[4]} {fig5_train[5]} | {fig5_test[1]} {fig5_test[2]} "
        "{fig5_test[3]} {fig5_test[4]} {fig5_test[5]} (test) | |",
        *(f"| {name} | {{{arm}.n}} | {{{arm}.five}} |" for name, arm in CLOSED),
        "20 passes of 60,000 images (n = {paper_closed_20[reference].n}, new seeds)",
        "| published, one run | {fig6[60,000]} | {fig5_train[20]} |",
        *(
            f"| {name} | {{{arm}.ends}} |"
            for name, arm in (
                ("h, mu 0.1", "paper_closed_20[reference]"),
                ("h, energy of 1/8", "paper_closed_20[reading=energy of 1/8]"),
                (
                    "h, steps of 0.005 at most",
                    "paper_closed_20[reading=steps of 0.005 at most]",
                ),
                ("4 h, weights averaged over a pass", "paper_mean_20[reference]"),
                (
                    "h, mu 0.1, weights averaged over a pass",
                    "paper_mean_20[reading=mu 0.1, mean of the pass]",
                ),
            )
        ),
        "| {scale:.0f} h (`optimizer.curvature_scale`) |",
        "*Why* {scale:.0f} is not explained",
        "h itself gives {paper_readings[reading=h].steps[0]:.0e} to "
        "{paper_readings[reading=h].steps[1]:.3f} over all seeds",
        "{scale:.0f} h gives {paper_1998[reference].steps[0]:.1e} to "
        "{paper_1998[reference].steps[1]:.3f}: it divides the lower end alone by four",
        "the loss behind {fig6[60,000]} %",
        "Of the {readings} readings in that figure these are among the nearest in "
        "training or held-out error",
        "| published, one run | | {fig6[60,000]} | {fig5_train[20]} | | | | | |",
        "| eq. 8, the preset | {paper_1998[reference].n} | "
        "{paper_1998[reference].ends} | {distance[eq. 8]} |",
        *(
            f"| {reading} | {{paper_1998_nearer[reading={reading}].n}} | "
            f"{{paper_1998_nearer[reading={reading}].ends}} | {{distance[{reading}]}} |"
            for reading in ("eq. 9, j = 1", "eq. 9, j = 3", "LUSH's init")
        ),
        *(
            f"| eq. 9, j = {j}, new seeds | {{paper_eq9_20[{arm}].n}} | "
            f"{{paper_eq9_20[{arm}].ends}} | {{distance[eq. 9, j = {j}, new seeds]}} |"
            for j, arm in (
                ("0.5", "reading=eq. 9, j = 0.5"),
                ("1", "reference"),
                ("2", "reading=eq. 9, j = 2"),
                ("10", "reading=eq. 9, j = 10"),
            )
        ),
        *(
            f"{{paper_1998_nearer[reading=eq. 9, j = {j}]}} with j = {j}, "
            f"{{paper_1998_nearer[reading=eq. 9, j = {j}].effect[verdict]}} "
            f"(n = {{paper_1998_nearer[reading=eq. 9, j = {j}].effect[n]}})"
            for j in (1, 3)
        ),
        "Single runs with j = 0.5 end at "
        "{paper_eq9_20[reading=eq. 9, j = 0.5].train[20].one_run} % training error, "
        "which holds the published {fig5_train[20]} %; with j = 1 at "
        "{paper_eq9_20[reference].train[20].one_run} % and with j = 2 at "
        "{paper_eq9_20[reading=eq. 9, j = 2].train[20].one_run} %, which do not",
        "j = 1 is {pooled[farthest]} points off at the most (n = {pooled[n]})",
        "coefficients {coefficient} |",
        "ends at {paper_1998_nearer[reading=LUSH's init].test[20].mean:.2f} % "
        "(n = {paper_1998_nearer[reading=LUSH's init].n}; "
        "{paper_1998_nearer[reading=LUSH's init].effect[verdict]} against ours)",
        "do not lower our mean: effect "
        "{paper_1998_size[augmentation=affine_1998].effect[mean]:+.2f} points "
        "({paper_1998_size[augmentation=affine_1998].effect[low]:.2f} to "
        "{paper_1998_size[augmentation=affine_1998].effect[high]:.2f}), "
        "{paper_1998_size[augmentation=affine_1998].effect[verdict]} "
        "(n = {paper_1998_size[augmentation=affine_1998].effect[n]}); "
        "half as much gives {paper_1998_distorted[reference].test[20]} "
        "(n = {paper_1998_distorted[reference].n})",
        "{paper_1998[reference].test[1].mean:.2f} %, published {fig5_test[1]:.2f} %: "
        "{gaps[1]:.2f} points apart; every later pass is within {later:.2f}",
        "{paper_1998[reference].minutes:.1f} minutes",
    ),
    "docs/robustness.md": (
        "{attack.images:,} test images, networks of {attack.passes} passes, "
        "n = {attack.n} seeds",
        "{robustness[adversary=fgsm].overfitted} of {attack.n} seeds overfit to it: "
        "their radii are {attack.fgsm[lost]}, the others' {attack.fgsm[kept]}",
        "In {attack.hatched} of {attack.cells} cells (seven treatments, nine radii)",
        *(f"| {name} | {{attack[{treatment}]}} |" for name, treatment in ATTACKED),
    ),
    "docs/interpretation.md": (
        "(n = {interpretation[practice=modern].n} seeds)",
        "learned on {probe.images:,} images",
        "leaves {sparse[paper]} % of the variance of F6 unexplained in 1998's network "
        "and {sparse[modern]} % in today's",
        *(
            f"| {words} | {{probe[paper {where}]}} | {{probe[modern {where}]}} |"
            for words, where in (
                ("F6", "trained clean F6"),
                ("S4 of the untrained network", "untrained clean S4"),
                ("C1, images changed to fool the network", "trained attacked C1"),
                ("F6, images changed to fool the network", "trained attacked F6"),
            )
        ),
    ),
}
# Documents in which no number may stand that no claim covers; the others also say what
# was measured once, by a script that left no record.
COMPLETE = ("README.md", "docs/findings.md", "docs/reproduction_1998.md")
STATED = [(document, claim) for document, claims in CLAIMS.items() for claim in claims]
# Names, settings and statements of the paper, in which a digit is no result of ours.
NAMES = (
    "the 10,000 test images",
    *("| 60,000 |", "| 30,000 |", "| 15,000 |", "60,000, training error"),
    "60,000, 1998's distortions",
    *(
        "LeNet-5",
        "1998",
        "edition 2",
        "of 2012",
        "two to three",
        "95 %",
        "stack of 8",
    ),
    # The best LeNet-5 and the best network of its size that were found, one run each.
    *("LeNet-5 found has 99.22 %", "found with no more parameters has 99.60 %"),
    *("shape, of 9,930, with", "EVA4, S5"),
    "Fig. 6",
    *(
        "60,000 images",
        "15,000 images",
        "60,000, of today",
        "60,000, at its best",
        *("at its best: 60", "smoothing of 0.05, and 60 passes"),
        *("60 passes in place of 20", "60 passes for 20", "worse than 60"),
        *(f"{count} passes" for count in PASSES),
        *("label smoothing of 0.05", "dropout of 0.1"),
        "all 64 combinations",
        "the 32 combinations",
        "batch 64",
    ),
    *("20 passes", "pass 20", "pass 1", "pass 2", "pass 3", "2 h", "3 h", "4 h"),
    *(
        "Fig. 5",
        "Fig. 7",
        "eq. 8",
        "Eq. 8",
        "eq. 9",
        "Eq. 9",
        "j = 3",
        "j = 1",
        "j = 10",
        *("j = 0.5", "j = 0.25", "j = 0", "j = 2", "j = 0.5 or 1"),
        *("above 0.1", "within 0.1 points", "pass 4"),
    ),
    *("+-1.2/sqrt(F)", "+-2.4/F", "+-1/sqrt(F) with coefficients 0.5"),
    *("the paper prints 7e-5 to 0.016", "et al., 2021"),
    *("mu 0.1", "energy of 1/8", "passes 1 to 5", "pass 5", "55,000 training images"),
    *("steps of 0.005 at most", "steps of 0.016 at most", "energy of 1/4", "84 units"),
    *("h of the first 500 images", "h of the first 100 images", "j = 50"),
    *(
        "j = 100",
        "j = 0, 0.25, 50 and 100",
        "first 100 or 500 images",
        "j = 0.5, 1 or 2",
        "0.95 +- 0.05",
    ),
    "further than 0.15 points",
)
# What the README says of every network that collapses.
TEMPER = {"activation": "relu", "optimizer": "sdlm"}
# Code, targets of links, and tags.
CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]+>", re.DOTALL)


@dataclass(frozen=True)
class Error:
    """An error over seeds, in %; as text with its 95 % t interval."""

    values: "np.ndarray[Any, Any]"

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    def __str__(self) -> str:
        n = len(self.values)
        half = stats.t.ppf(0.975, n - 1) * self.values.std(ddof=1) / math.sqrt(n)
        low, high = decimals(self.mean - half), decimals(self.mean + half)
        return f"{decimals(self.mean)} ({low} to {high})"

    @property
    def one_run(self) -> str:
        """Where one more run is expected, beside a published number of one."""
        return " to ".join(map(decimals, prediction_interval(self.values)))


MARKS = {"better": "▼", "worse": "▲", "equivalent": "=", "undecided": "?"}
OPPOSITE = {**{v: v for v in MARKS}, "better": "worse", "worse": "better"}


def cell(mean: float, low: float, high: float, verdict: str, reason: Any) -> str:
    """A cell of the table of findings; a dagger marks what is likely overstated."""
    dagger = "†" * ("overstated" in str(reason))
    number = decimals(mean, sign="+")
    return f"{number} ({decimals(low)}, {decimals(high)}) {MARKS[verdict]}{dagger}"


@dataclass(frozen=True)
class Arm:
    """One treatment of a published study: its runs, and its row of effects.csv, in
    percentage points."""

    records: list[Record]
    effect: dict[str, Any] | None

    def __str__(self) -> str:
        return f"{decimals(self.effect['mean'], sign='+')} {self.interval}"

    @property
    def worse(self) -> str:
        """What a level that is worse adds to the error, and its interval."""
        assert self.effect["verdict"] == "worse"
        return f"{decimals(self.effect['mean'])} {self.interval}"

    @property
    def better(self) -> str:
        """What a level that is better takes off the error, and its interval."""
        assert self.effect["verdict"] == "better"
        ends = ("mean", "high", "low")
        mean, low, high = (decimals(-self.effect[key]) for key in ends)
        return f"{mean} ({low} to {high})"

    @property
    def cell(self) -> str:
        """What the level does to the error, its interval, and its verdict as a mark."""
        mean, low, high = (self.effect[key] for key in ("mean", "low", "high"))
        return cell(mean, low, high, self.effect["verdict"], self.effect["reason"])

    @property
    def undone(self) -> str:
        """The same, of the change from the level to the reference."""
        mean, low, high = (-self.effect[key] for key in ("mean", "high", "low"))
        verdict = OPPOSITE[self.effect["verdict"]]
        return cell(mean, low, high, verdict, self.effect["reason"])

    @property
    def corrected(self) -> Error:
        """The error of the last pass once wrong test labels are corrected."""
        responses = [
            corrected_labels.record(record)["response"] for record in self.records
        ]
        return Error(100 * np.array([found[CORRECTED.name] for found in responses]))

    @property
    def interval(self) -> str:
        return f"({decimals(self.effect['low'])} to {decimals(self.effect['high'])})"

    @property
    def overfitted(self) -> int:
        """Runs that end as catastrophic overfitting to their adversary."""
        return sum(overfitting(record["curve"]) is not None for record in self.records)

    @property
    def n(self) -> int:
        return len(self.records)

    @property
    def minutes(self) -> float:
        """Of processor time, a run."""
        return (
            float(np.mean([run_record.spent(record) for record in self.records])) / 60
        )

    @property
    def test(self) -> dict[int, Error]:
        """The test error after each pass."""
        return self.curve("test_error")

    @property
    def train(self) -> dict[int, Error]:
        """The training error of each pass."""
        return self.curve("train_error")

    @property
    def ends(self) -> str:
        """Test and training error after 20 passes, as cells."""
        return f"{self.test[20]} | {self.train[20]}"

    @property
    def row(self) -> str:
        """The training errors of the first three passes, as cells."""
        return " | ".join(decimals(self.train[p].mean) for p in (1, 2, 3))

    @property
    def five(self) -> str:
        """Training and held-out errors of five passes, and the last held-out error with
        its interval, as cells."""
        held_out = self.curve("validation_error")
        errors = (
            " ".join(decimals(curve[p].mean) for p in range(1, 6))
            for curve in (self.train, held_out)
        )
        return " | ".join([*errors, str(held_out[5])])

    @property
    def accuracy(self) -> Error:
        """Test accuracy after the last pass, in %."""
        return Error(100 - list(self.test.values())[-1].values)

    @property
    def steps(self) -> tuple[float, float]:
        """The least and the largest step size of sdlm's first pass."""
        low, high = zip(*(record["step_sizes"] for record in self.records), strict=True)
        return min(low), max(high)

    def curve(self, key: str) -> dict[int, Error]:
        runs = [[point[key] for point in record["curve"]] for record in self.records]
        return dict(enumerate(map(Error, 100 * np.array(runs).T), 1))


class Published:
    """A study of outputs/, by arm."""

    def __init__(self, name: str, response: str = TEST_ERROR.name) -> None:
        self.name, self.response = name, response
        self.plan, records = study.read_study(OUTPUTS / name)
        self.found = [
            record for record in records if record["run_id"] in self.plan["runs"]
        ]

    def __getitem__(self, arm: str) -> Arm:
        runs = {entry.get("name"): entry["runs"] for entry in self.plan.get("arms", [])}
        if arm in runs:
            chosen = [record for record in self.found if record["run_id"] in runs[arm]]
        elif arm == "reference":
            known = current(self.plan["reference"])
            chosen = [
                record for record in self.found if current(record["treatment"]) == known
            ]
        else:
            wanted = dict(text.split("=") for text in arm.split())
            chosen = [
                record
                for record in self.found
                if fits(current(record["treatment"]), wanted)
            ]
        assert chosen, f"study {self.name} has no arm {arm}"
        factor, _, level = arm.partition("=")
        compared = level and (OUTPUTS / self.name / EFFECTS).exists()
        return Arm(chosen, self.effect(factor, level) if compared else None)

    @cached_property
    def corrected(self) -> "Published":
        """The same study by the corrected labels."""
        return Published(self.name, CORRECTED.name)

    @property
    def runs(self) -> int:
        return len(self.found)

    @property
    def collapsed(self) -> int:
        """Runs that err like a guess, each with `TEMPER`."""
        errors = [record["response"]["test_error"] for record in self.found]
        ends = zip(self.found, errors, strict=True)
        lost = [record for record, error in ends if (error or 0) >= GUESSING]
        assert all(fits(record["treatment"], TEMPER) for record in lost)
        return len(lost)

    @property
    def lost_share(self) -> str:
        """The exact interval of the share that collapses, by scipy."""
        found = stats.binomtest(self.collapsed, self.runs).proportion_ci()
        return f"{decimals(100 * found.low)} to {decimals(100 * found.high)} %"

    @property
    def held_out(self) -> int:
        """Held-out images of a path's search, over its seeds."""
        size = self.plan["search_changes"]["validation_size"]
        return int(size) * len(self.plan["search_seeds"])

    @property
    def third(self) -> int:
        """By how many held-out errors a path's third step was chosen, after the units
        and distortions."""
        errors = {
            record["run_id"]: record["curve"][-1].get("validation_error")
            for record in self.found
        }
        first, means = self.plan["arms"][0]["levels"], list[float]()
        for arm in self.plan["arms"]:
            new = {key for key, name in arm["levels"].items() if name != first[key]}
            if len(new) == 3 and {"units", "augmentation"} < new:
                means.append(float(np.mean([errors[run] for run in arm["search"]])))
        best, second, *_ = sorted(means)
        return round((second - best) * self.held_out)

    @property
    def main(self) -> dict[str, Arm]:
        """The main effects of a factorial."""
        return self.of(MAIN)

    @property
    def alone(self) -> dict[str, dict[str, Arm]]:
        """The simple effects of a factorial, by the end of the others."""
        ends = ("paper", "modern")
        return {end: self.of(f"{SIMPLE} (others as in {end})") for end in ends}

    @property
    def pair(self) -> dict[str, Arm]:
        """The interactions of a factorial, by pair of factors."""
        return self.of(PAIR)

    @property
    def pairs(self) -> dict[str, int]:
        """How many pairs of changes there are, and how many are proven to interact."""
        verdicts = [arm.effect["verdict"] for arm in self.pair.values()]
        proven = sum(verdict in ("better", "worse") for verdict in verdicts)
        return {"all": len(verdicts), "proven": proven}

    def of(self, kind: str) -> dict[str, Arm]:
        """The effects of one kind, by factor."""
        rows = self.effects
        return {r["factor"]: Arm([], r) for r in rows if r["estimand"].startswith(kind)}

    @cached_property
    def effects(self) -> list[dict[str, Any]]:
        """The rows of its table of effects, of its response."""
        rows = effect_tables.read_effects(OUTPUTS / self.name / EFFECTS).to_dict(
            "records"
        )
        other = TEST_ERROR if self.response == CORRECTED.name else CORRECTED
        rows = [row for row in rows if row["response"] != other.name]
        points = ("mean", "sd", "low", "high")
        return [
            {str(k): 100 * v if k in points else v for k, v in row.items()}
            for row in rows
        ]

    def effect(self, factor: str, level: str) -> dict[str, Any] | None:
        """A row of effects.csv, where there is one under these names."""
        wanted = {"factor": factor, "level": level}
        return next((row for row in self.effects if fits(row, wanted)), None)

    @property
    def steps(self) -> dict[str, Arm]:
        """The step of each factor of a path or a ladder."""
        return self.of(PATH) or self.of(LADDER)


def fits(row: Any, wanted: dict[str, str]) -> bool:
    return all(str(row[key]) == value for key, value in wanted.items())


class Attacked:
    """Rows of docs/robustness.md, from the tables of outputs/robustness."""

    def __init__(self) -> None:
        folder = OUTPUTS / "robustness"
        rows = effect_tables.read_effects(folder / "robustness.csv")
        self.accuracy = rows.pivot(index="treatment", columns="epsilon", values="mean")
        self.weak = rows.pivot(index="treatment", columns="epsilon", values="any") > 0
        attacked = rows[rows["epsilon"] > 0]
        self.cells, self.hatched = len(attacked), int((attacked["any"] > 0).sum())
        flips = effect_tables.read_effects(folder / "robustness_flips.csv")
        self.radii = flips.set_index("treatment")
        self.bounds = {name for name in self.radii.index if self.beside_weak(name)}
        plan, records = study.read_study(folder)
        self.passes, self.n = len(records[0]["curve"]), len(plan["seeds"])
        cells = effect_tables.read_effects(folder / "robustness_flips_cells.csv")
        cells = cells[cells["treatment"] == "training on FGSM"]
        radius = cells.set_index("seed")["smallest_epsilon"]
        groups: dict[str, list[float]] = {"lost": [], "kept": []}
        for record in records:
            if record["treatment"]["adversary"] == "fgsm":
                lost = "lost" if overfitting(record["curve"]) else "kept"
                groups[lost].append(radius[record["seed"]])
        self.fgsm = {
            lost: f"{decimals(min(radii))} to {decimals(max(radii))}"
            for lost, radii in groups.items()
        }
        words = re.findall(r"\d[\d,]*", (folder / "robustness.md").read_text("utf-8"))
        self.images, self.steps = (int(word.replace(",", "")) for word in words[:2])

    def beside_weak(self, treatment: str) -> bool:
        """Whether the next radius on either side was attacked weakly."""
        weak, at = self.weak.loc[treatment], self.radii.loc[treatment, "mean"]
        smaller = [radius for radius in weak.index if radius <= at]
        larger = [radius for radius in weak.index if radius > at]
        return any(weak[radius] for radius in (*smaller[-1:], *larger[:1]))

    def __getitem__(self, treatment: str) -> str:
        """A treatment's row: its median smallest radius, how that differs from the
        reference's, and its accuracy at two radii, `<=` where the attack was weak."""
        radius, right = self.radii.loc[treatment], 100 * self.accuracy.loc[treatment]
        weak = self.weak.loc[treatment]
        cells = [
            f"{'<= ' * (treatment in self.bounds)}{decimals(radius['mean'], 3)}",
            "",
            *(f"{'<= ' * bool(weak[r])}{decimals(right[r], 1)}" for r in (0.05, 0.1)),
        ]
        if treatment != self.radii.index[0]:
            mean, low, high = (
                float(radius[f"difference_{key}"]) for key in ("mean", "low", "high")
            )
            interval = f"({decimals(low, 3)} to {decimals(high, 3)})"
            verdict = radius["difference_verdict"]
            cells[1] = f"{decimals(mean, 3, '+')} {interval} {verdict}"
        return " | ".join(cells)


class Probed:
    """What outputs/interpretation says, in % with its interval: the accuracy of a probe
    by network, weights, images and layer; of F6 what TopK leaves unexplained."""

    def __init__(self) -> None:
        folder = OUTPUTS / "interpretation"
        self.rows = effect_tables.read_effects(folder / "probe_accuracy.csv")
        (self.images,) = effect_tables.read_effects(folder / "probes.csv")[
            "n_train"
        ].unique()

    def __getitem__(self, where: str) -> str:
        keys = ("network", "weights", "images", "layer")
        wanted = dict(zip(keys, where.split(), strict=True))
        return self.share(self.rows, wanted)

    def unexplained(self, network: str, latents: int) -> str:
        """Of the variance of F6, where so many latents may be active."""
        rows = effect_tables.read_effects(
            OUTPUTS / "interpretation/sae_unexplained.csv"
        )
        keys = {"network": network, "weights": "trained", "method": "topk"}
        return self.share(rows[rows["setting"] == latents], keys)

    def share(self, rows: pandas.DataFrame, wanted: dict[str, str]) -> str:
        (row,) = (row for row in rows.to_dict("records") if fits(row, wanted))
        mean, low, high = (
            decimals(100 * row[key], 1) for key in ("mean", "low", "high")
        )
        return f"{mean} ({low} to {high})"


@dataclass(frozen=True)
class Counts:
    """What the network of a preset holds."""

    preset: str

    @cached_property
    def rows(self) -> list[tuple[str, str, int, int]]:
        treatment = composed([f"preset={self.preset}"])[0][0].treatment
        return model.table(**{f: str(treatment[f]) for f in model.STRUCTURE})

    @property
    def parameters(self) -> int:
        return sum(row[2] for row in self.rows)

    @property
    def connections(self) -> int:
        return sum(row[3] for row in self.rows)


def relabelled() -> dict[str, int]:
    """Wrong labels; the cells of the README's table, and how many of them have another
    verdict once those labels are corrected."""
    one_factor, leave_one_out, ladder, factorial = map(
        Published, ("one_factor", "leave_one_out", "ladder", "factorial")
    )

    def verdicts(corrected: bool) -> list[str]:
        alone, today, steps, crossed = (
            study.corrected if corrected else study
            for study in (one_factor, leave_one_out, ladder, factorial)
        )
        rows = [alone.effect(factor, now) for _, factor, _, now in SINGLE]
        rows += [today.effect(factor, then) for _, factor, then, _ in SINGLE]
        factors = [*(factor for _, factor in GROUP), *STEPPED]
        for factor in factors:
            rows += [steps.steps[factor].effect, crossed.main[factor].effect]
        for _, factor in GROUP:
            rows += [end[factor].effect for end in crossed.alone.values()]
        return [row["verdict"] for row in rows]

    pairs = list(zip(verdicts(False), verdicts(True), strict=True))
    changed = sum(verdict != other for verdict, other in pairs)
    labels = len(corrected_labels.labels())
    return {"labels": labels, "all": len(pairs), "verdicts": changed}


def followed_log() -> dict[str, int]:
    """Passes of the log of the authors' later code, and of how many our seeds' smallest
    steps hold its smallest step."""
    table = pandas.read_csv(OUTPUTS / "paper_log" / "log.csv")
    low, high = table["tanh_least_low"], table["tanh_least_high"]
    held = (low <= table["log_least"]) & (table["log_least"] <= high)
    return {"passes": int(table["tanh_test"].notna().sum()), "steps": int(held.sum())}


def wide() -> dict[str, dict[str, Any]]:
    """Parameters, runs and test errors, in %, of the networks of each width."""
    table = pandas.read_csv(OUTPUTS / "width_curve" / "width.csv")
    found = {words: table[table["scale"] == scale] for words, scale in WIDTHS.items()}
    half, own, double = (rows["test_error"] for rows in found.values())
    assert half.min() > own.max() > own.min() > double.max(), "findings say so"
    return {
        words: {
            "parameters": rows["parameters"].unique().item(),
            "n": len(rows),
            "mean": decimals(100 * rows["test_error"].mean()),
            "runs": " ".join(decimals(100 * error) for error in rows["test_error"]),
        }
        for words, rows in found.items()
    }


def looks(name: str) -> dict[str, Any]:
    """What a study's networks err after most looks at an image, and how much less than
    after one."""
    table = pandas.read_csv(OUTPUTS / name / "looks.csv")
    most = table["looks"].max()
    errors = 100 * table.pivot(index="run", columns="looks", values="error")
    change = errors[most] - errors[1]
    return {
        "looks": most,
        "n": len(errors),
        "error": Error(errors[most].to_numpy()),
        "accuracy": Error(100 - errors[most].to_numpy()),
        "change": Error(-change.to_numpy()),
    }


def unlearned(readings: Published) -> dict[str, Any]:
    """Runs with the printed initialisation, those that guess, and the best error."""
    arms = [readings[f"reading=printed init, {h}"] for h in ("h", "4 h")]
    errors = np.concatenate([list(arm.test.values())[-1].values for arm in arms])
    guess = int((errors >= 100 * GUESSING).sum())
    return {"guess": guess, "all": len(errors), "best": decimals(errors.min(), 0)}


def pooled() -> dict[str, Any]:
    """Eq. 9 with j = 1 over the seeds of both studies: how many, and how far their mean
    test error is from Fig. 5 from pass 3 on at the most."""
    arms = [
        Published("paper_eq9_20")["reference"],
        Published("paper_1998_nearer")["reading=eq. 9, j = 1"],
    ]
    test = imported("paper_1998").TEST
    gaps = [
        abs(np.concatenate([arm.test[p].values for arm in arms]).mean() - test[p - 1])
        for p in range(3, len(test) + 1)
    ]
    return {"n": sum(arm.n for arm in arms), "farthest": decimals(max(gaps), 4)}


def distances() -> dict[str, str]:
    """How far the mean curves of a reading lie from Fig. 5, test and training: on
    average, and from pass 3 on at the most, with how many passes are farther than 0.1;
    and how many of its points lie where a single run is expected, as cells."""
    table = pandas.read_csv(OUTPUTS / "paper_1998" / "figures.csv", index_col="what")
    cells = {}
    for what in table.index[table.index.str.endswith("test, distance")]:
        name = what.removeprefix("Fig. 5, ").removesuffix(", test, distance")
        kinds = [f"Fig. 5, {name}, {kind}" for kind in ("test", "train")]
        far = [decimals(table["mean"][f"{kind}, distance"]) for kind in kinds]
        for kind in kinds:
            late, passes = (
                table["mean"][f"{kind}, {key}"]
                for key in ("farthest from pass 3", "passes from 3 farther than 0.1")
            )
            far.append(f"{decimals(late, 3)} ({passes:.0f})")
        held = sum(int(table["mean"][f"{kind}, points held"]) for kind in kinds)
        points = sum(int(table["published"][f"{kind}, points held"]) for kind in kinds)
        cells[name] = " | ".join([*far, f"{held} of {points}"])
    return cells


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """What the fields of CLAIMS name."""
    return known()


def known() -> dict[str, Any]:
    """What the fields of CLAIMS name: studies, tables and what the paper prints."""
    script = imported("paper_1998")
    studies = {name: Published(name) for name in STUDIES}
    main = studies["paper_1998"]["reference"]
    treatment = main.records[0]["treatment"]
    fig5 = dict(enumerate(script.TEST, 1))
    gaps = {p: abs(main.test[p].mean - error) for p, error in fig5.items()}
    return {
        **studies,
        "attack": Attacked(),
        "probe": (probed := Probed()),
        "sparse": {name: probed.unexplained(name, 8) for name in ("paper", "modern")},
        "paper_net": Counts("paper"),
        "modern_net": Counts("modern"),
        "fig5_test": fig5,
        "fig5_train": {**dict(enumerate(script.TRAIN, 1)), 20: 0.35},
        "fig6": script.SIZES,
        "gaps": gaps,
        "distance": distances(),
        "relabelled": relabelled(),
        "log": followed_log(),
        "unlearned": unlearned(Published("paper_readings_more")),
        "wide": wide(),
        "looks": {name: looks(name) for name in ("best", "tuning_best_4")},
        "pooled": pooled(),
        "readings": len(pandas.read_csv(OUTPUTS / "paper_readings" / "readings.csv")),
        "later": max(gap for p, gap in gaps.items() if p > 1),
        "scale": treatment["optimizer.curvature_scale"],
        "coefficient": treatment["init.coefficient"],
        "quick": len(design.load_design("quick", []).runs),
    }


def imported(name: str) -> Any:
    """A program of scripts/ as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        return importlib.import_module(name)


class Stated(string.Formatter):
    """Fills a claim's fields, ties rounded as everywhere."""

    def format_field(self, value: Any, form: str) -> str:
        fixed = re.fullmatch(r"(\+?)\.(\d)f", form)
        if not fixed:
            return super().format_field(value, form)
        return decimals(float(value), int(fixed[2]), fixed[1])


def stated(claim: str, values: dict[str, Any]) -> str:
    """A claim with the numbers that the records give, on one line."""
    return flat(Stated().vformat(claim, (), values))


def help_of(path: Path) -> str:
    """What a program of scripts/ says of its keys: its own text, or its command's."""
    verb = re.search(r'script\("(.*)"\)', (ROOT / path).read_text())
    return module_docstring(verb[1]) if verb else str(imported(path.stem).__doc__)


def flat(text: str) -> str:
    """The text with one space wherever it has some."""
    return " ".join(text.split())


def numbers(text: str) -> list[str]:
    """Where digits are left, with what stands around them, names and code aside."""
    longest = sorted(NAMES, key=len, reverse=True)
    names = "|".join(re.escape(name) for name in longest)
    text = re.sub(rf"(?<![\d.])({names})(?!\d)", "", text)
    return re.findall(r".{,30}\d.{,30}", text)


def test_list_of_decisions_is_that_of_their_pages() -> None:
    """Each page of docs/decisions, with its title and its date."""
    listed = re.findall(
        r"\| \[(.*)\]\((.*)\) \| (\S+) \|", DOCUMENTS["docs/decisions/README.md"]
    )
    pages = {}
    for name, text in DOCUMENTS.items():
        if name.startswith("docs/decisions/") and not name.endswith("README.md"):
            title, date = re.search(r"# (.*)\n\nDate: (\S+)", text).groups()
            pages[name.rpartition("/")[2]] = (title, date)
    assert {page: (title, date) for title, page, date in listed} == pages


@pytest.mark.parametrize(("document", "claim"), STATED)
def test_number_is_that_of_the_records(
    document: str, claim: str, values: dict[str, Any]
) -> None:
    """The document has the statement with the numbers that published records give."""
    assert stated(claim, values) in flat(DOCUMENTS[document])


@pytest.mark.parametrize("document", COMPLETE)
def test_every_number_is_claimed(document: str, values: dict[str, Any]) -> None:
    """Without the claims, names and code no number is left in the document."""
    prose = flat(DOCUMENTS[document])
    for claim in CLAIMS[document]:
        sentence = stated(claim, values)
        assert sentence in prose
        prose = prose.replace(sentence, "")
    assert not numbers(CODE.sub("", prose))


@pytest.mark.parametrize(("document", "claim"), STATED)
def test_claim_states_no_number_itself(document: str, claim: str) -> None:
    """What a claim says without its fields has no number."""
    fields = string.Formatter().parse(claim)
    text = CODE.sub("", "".join(text for text, *_ in fields))
    assert not numbers(text) or document not in COMPLETE


# What sentences say of changes: the effects that a sentence is about, by verdict.
FINDINGS = "docs/findings.md"
VERDICTS: tuple[tuple[str, str, dict[str, tuple[str, ...]]], ...] = (
    (
        "README.md",
        "Better alone at both ends: small distortions; ReLU for scaled tanh; ReLU and "
        "Kaiming's initialisation.",
        {
            "better": (
                *("one_factor augmentation=affine", "one_factor activation=relu"),
            ),
            "worse": (
                "leave_one_out augmentation=none",
                "leave_one_out activation=scaled_tanh",
            ),
        },
    ),
    (
        FINDINGS,
        "cosine's and the units' today and that of training alone in 1998 are then "
        "undecided.",
        {"undecided": ("leave_one_out.corrected schedule=steps_1998",)},
    ),
    (
        FINDINGS,
        "Softmax today keeps its verdict, but is then likely overstated:",
        {"worse": ("leave_one_out head=rbf", "leave_one_out.corrected head=rbf")},
    ),
    (
        FINDINGS,
        "hurts in 1998, whose step sizes it keeps, and helps today.",
        {"worse": ("one_factor head=softmax", "leave_one_out head=rbf")},
    ),
    (
        FINDINGS,
        "Max pooling hurts in 1998 and is undecided today.",
        {
            "worse": ("one_factor pooling=max",),
            "undecided": ("leave_one_out pooling=subsample",),
        },
    ),
    (
        FINDINGS,
        "in place of second-order steps, helps today and hurts in 1998.",
        {"worse": ("leave_one_out optimizer=sdlm", "one_factor optimizer=adam")},
    ),
    (
        FINDINGS,
        "A cosine schedule helps today and is undecided in 1998.",
        {
            "worse": ("leave_one_out schedule=steps_1998",),
            "undecided": ("one_factor schedule=cosine",),
        },
    ),
    (
        FINDINGS,
        "Label smoothing and the one-cycle schedule are undecided, and 60 passes in "
        "place of 20 are equivalent.",
        {
            "undecided": ("ladder_best head.smoothing", "ladder_best schedule"),
            "equivalent": ("ladder_best epochs",),
            "better": ("ladder_best optimizer",),
        },
    ),
    (
        FINDINGS,
        "Muon is what helps; the three others are equivalent to what they replace",
        {
            "worse": ("best_leave_one_out optimizer=adam",),
            "equivalent": tuple(
                f"best_leave_one_out {arm}" for _, arm in BEST if "optimizer" not in arm
            ),
        },
    ),
    (
        FINDINGS,
        "None is proven better or worse than 60",
        {"undecided": tuple(f"best_passes epochs={p}" for p in PASSES if p != 60)},
    ),
    (
        FINDINGS,
        "Elastic distortions hurt. All others are undecided",
        {
            "better": ("beyond_modern optimizer=muon",),
            "worse": ("beyond_modern augmentation=elastic",),
            "undecided": tuple(f"beyond_modern {arm}" for _, arm in BEYOND[1:-1]),
        },
    ),
)


@pytest.mark.parametrize(("document", "sentence", "verdicts"), VERDICTS)
def test_sentence_follows_from_verdicts(
    document: str,
    sentence: str,
    verdicts: dict[str, tuple[str, ...]],
    values: dict[str, Any],
) -> None:
    """The document has the sentence, and every effect that it is about is so."""
    assert sentence in flat(DOCUMENTS[document])
    for verdict, arms in verdicts.items():
        for name in arms:
            study_name, _, arm = name.partition(" ")
            study_name, _, view = study_name.partition(".")
            effects = values[study_name]
            effects = getattr(effects, view) if view else effects
            steps = effects.main or effects.steps
            found = effects[arm] if "=" in arm else steps[arm]
            assert found.effect["verdict"] == verdict, name


CHARTED = sorted(path.parent.name for path in OUTPUTS.glob(f"*/{EFFECTS}"))


@pytest.mark.parametrize("name", mostly_slow(CHARTED[::-1], every=6))
def test_published_tables_follow_from_published_records(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report drawn again has the effects, curves and costs that are published; side
    by side, those of one study under those of the other."""
    fastest = {"svg": FORMATS["svg"]}
    monkeypatch.setattr(exhibit_files, "FORMATS", fastest)
    studies = [study.published_study(OUTPUTS / part) for part in name.split("-")]
    drawn = [
        path
        for path in study_report.write_report(tmp_path, studies)
        if path.suffix == ".csv"
    ]
    assert tmp_path / EFFECTS in drawn
    for path in drawn:
        again, published = map(
            effect_tables.read_effects, (path, OUTPUTS / name / path.name)
        )
        pandas.testing.assert_frame_equal(again, published, rtol=1e-9)


def held_out(name: str) -> dict[str, list[float]]:
    """The held-out errors of each arm of a published search, in %; inf where a run is
    lost."""
    plan, records = study.read_study(OUTPUTS / name)
    errors = {
        record["run_id"]: 100 * record["response"]["validation_error"]
        if study.converged(record)
        else math.inf
        for record in records
    }
    return {arm["name"]: [errors[run] for run in arm["runs"]] for arm in plan["arms"]}


def test_optimizers_have_rates_that_the_search_does_not_tell_from_the_best() -> None:
    """The rate in conf/optimizer/ loses no run, and its mean held-out error is above
    the lowest by less than the 95 % interval of a difference, of the pooled sd; Adam's
    is the reference of the search."""
    runs = held_out("tuning_optimizer")
    plan, _ = study.read_study(OUTPUTS / "tuning_optimizer")
    kept = [errors for errors in runs.values() if math.inf not in errors]
    assert {len(errors) for errors in kept} == {2}
    sd = math.sqrt(np.mean([np.var(errors, ddof=1) for errors in kept]))
    apart = stats.t.ppf(0.975, len(kept)) * sd  # the difference of two means of two
    text = flat(DOCUMENTS["docs/decisions/learning_rates.md"])
    assert f"less than {decimals(apart)} points apart are not told apart" in text
    for factor, arms in plan["levels"].items():
        usual = {
            f"optimizer.{k}": v for k, v in group_levels("optimizer")[factor].items()
        }
        means = {}
        for level, changes in arms.items():
            errors = runs.get(f"{factor}={level}", runs["reference"])
            means[level] = np.mean(errors)
            if usual | changes == usual | {"optimizer": factor}:
                chosen = level
        assert means[chosen] < min(means.values()) + apart, factor


def blocks(language: str) -> list[str]:
    """The code blocks in a language, of the pages shown."""
    text = "\n".join(SHOWN)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


MINE = "3f2a"  # a reader's run


def commands() -> Iterator[list[str]]:
    """The words of every command of the pages shown, in blocks and in sentences."""
    lines = [
        line
        for block in blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    for text in SHOWN:
        lines += re.findall(r"`((?:python|lenet) [^`<|]*)`", text)
    for line in lines:
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield words[:end]
            words = words[end + 1 :]


def test_findings_say_of_which_edition_the_studies_are() -> None:
    """All are of one, trained on committed code."""
    assert "All studies are of edition 2." in flat(DOCUMENTS[FINDINGS])
    paths = sorted(OUTPUTS.glob("*/records.jsonl.gz"))
    records = [record for path in paths for record in store.read_published(path)]
    assert {run_record.edition(record) for record in records} == {2}
    assert not any(record["code"]["dirty"] for record in records)


def check_verb(verb: str, *typed: str) -> None:
    """A command of `lenet` says that it knows these keys; a published run is there."""
    assert verb in VERBS
    if verb == "train":
        train.refuse_mistyped([text for text in typed if not text.startswith("hydra")])
    elif verb == "sweep":
        given, overrides = command.parse_arguments(typed)
        if given.get("design", ".yaml").endswith(".yaml"):
            return  # the reader's own; verify and status need none
        design.load_design(given["design"], [o for o in overrides if "hydra" not in o])
    else:
        values = dict(text.split("=", 1) for text in typed if "=" in text)
        assert all(f"{key}=" in module_docstring(verb) for key in values)
        if values.get("run", MINE) != MINE:
            record = store.select(values["run"], str(OUTPUTS))
            store.weights(str(OUTPUTS), record)


@pytest.mark.parametrize("words", [*commands()], ids=" ".join)
def test_command_can_be_typed(words: list[str]) -> None:
    """A command of ours has keys and values that it accepts; nothing is trained."""
    program, *typed = words
    assert program in ("python", "lenet", "pip", "pytest", "ruff", "mypy", "pre-commit")
    if program not in ("python", "lenet") or typed[-1] == "--help":
        return
    if program == "lenet":
        check_verb(*typed)
    elif typed[:2] == ["-m", "lenet.train"] or typed[0] == "lenet/train.py":
        train.refuse_mistyped(typed[2:] if typed[0] == "-m" else typed[1:])
    elif typed[0].startswith("tests/"):
        assert (ROOT / typed[0]).exists()
    elif typed[0] == "scripts/sweep.py":
        check_verb("sweep", *typed[1:])
    elif typed[0] == "-m":
        assert callable(importlib.import_module(typed[1]).main)
    else:
        says = help_of(Path(typed[0]))
        values = dict(text.split("=", 1) for text in typed[1:])
        assert all(f"{key}=" in says for key in values)
        if "run" in values:  # it is published, with its weights
            store.weights(str(OUTPUTS), store.select(values["run"], str(OUTPUTS)))


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block: str, mnist: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block can be pasted: it ends with the activations of every layer."""
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(block, names)
    assert " ".join(names["layers"]) == "C1 S2 C3 S4 C5 F6 output"
    assert {len(layer[0]) for layer in names["layers"].values()} == {10}


def test_readme_is_short() -> None:
    """It has at most 900 words, code and tables included, and short paragraphs."""
    assert len(README.split()) <= WORDS
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n|\n\* ", prose):
        if not paragraph.startswith("|"):
            assert len(words(paragraph)) <= PARAGRAPH, paragraph


def test_findings_are_five_short_sentences() -> None:
    """Below the table stand at most five, of at most 25 words."""
    _, _, section = README.partition("## What we found")
    section, _, _ = section.partition("\n## ")
    _, *sentences = section.split("\n* ")
    assert 0 < len(sentences) <= SENTENCES
    assert max(len(words(sentence)) for sentence in sentences) <= LONGEST


def test_contributing_is_short() -> None:
    """It has at most 900 words."""
    assert len(DOCUMENTS["CONTRIBUTING.md"].split()) <= WORDS


def words(text: str) -> list[str]:
    """What has a letter or a digit between two spaces, without the targets of links."""
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return [word for word in text.split() if re.search(r"\w", word)]


LINK = r"(?:\]\(|(?:href|src|srcset)=\")([^)\s\"]+)[)\"]"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    """Every picture and file that it links to is there, with its heading."""
    for link in re.findall(LINK, DOCUMENTS[document]):
        target, _, heading = link.partition("#")
        if target.startswith("https://"):
            continue
        path = (ROOT / document).parent / target if target else ROOT / document
        text = path.read_bytes()
        if heading:
            titles = re.findall(r"^#+ (.*)$", text.decode(), re.MULTILINE)
            assert heading in map(anchor, titles), link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tests_that_are_named_are_there(document: str) -> None:
    """So that a command of pytest can be typed, too."""
    for path in re.findall(r"tests/[\w/.]+\.py", DOCUMENTS[document]):
        assert (ROOT / path).is_file(), path


def anchor(title: str) -> str:
    """The heading as a link names it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def main() -> None:
    """Print what the documents should say and do not."""
    values = known()
    for document, claim in STATED:
        if stated(claim, values) not in flat(DOCUMENTS[document]):
            print(f"{document}: {stated(claim, values)}")


if __name__ == "__main__":
    main()
