# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # LeNet-5, ablated
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/)
# (choose GitHub, give the address of this repository and open `lenet.ipynb`)
#
# LeNet-5 as published in 1998 and as it is trained today: both trained here on
# scikit-learn's handwritten digits, in seconds and without a download; an ablation
# chart from published MNIST records; then what the networks look at, know and can be
# fooled by. Everything that is called here has its formula and source in its docstring.

# %%
import os
import subprocess
import sys
from pathlib import Path

if not Path("lenet/train.py").exists():  # in Colab: fetch the code and the records
    address = input("The address of this notebook's repository: ")
    subprocess.run(["git", "clone", "--depth", "1", address, "lenet"], check=True)
    os.chdir("lenet")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "-e", "."], check=True
    )
    sys.path.insert(0, ".")

# %%
# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"dpi": 64, "bbox_inches": "tight"}
import tempfile

import pandas as pd
import torch
from IPython.display import display
from matplotlib.figure import Figure

from lenet import train
from lenet.config import composed
from lenet.figures import interpretation_maps
from lenet.figures.canvas import ORANGE
from lenet.interpret import analysis, probe, sae
from lenet.records import run_record
from lenet.report import study_report
from lenet.studies import study
from lenet.training import data
from lenet.training.attack import Targeted, Untargeted, fgsm, pgd
from lenet.training.model import STRUCTURE, table

# %% [markdown]
# ## The network
# Trainable parameters and connections of each layer, counted from the model: 1998 on
# the left, today on the right. `python scripts/architecture.py` draws it.

# %%
output_dir = tempfile.mkdtemp()
line = ["data=digits", "epochs=5", "replicates=5", f"output_dir={output_dir}"]
configs = {name: composed([f"preset={name}", *line])[0] for name in ("paper", "modern")}
places = composed(line)[1]
counts = {
    name: pd.DataFrame(
        table(**{factor: runs[0].level(factor) for factor in STRUCTURE}),
        columns=["layer", "output", "parameters", "connections"],
    ).set_index("layer")
    for name, runs in configs.items()
}
pd.concat(counts, axis=1)

# %% [markdown]
# ## Train: 1998 against today
# Five seeds of each preset, as one stack each. A run ends as a sealed record; the same
# call again would train nothing. The seeds are blocks: both networks of a seed share
# the draws that both have, so that differences are taken within a seed.

# %%
found = {name: train.train_missing(runs, places) for name, runs in configs.items()}
errors = pd.DataFrame(
    {
        name: run_record.record_frame(runs).set_index("seed")["test_error"]
        for name, runs in found.items()
    }
)
errors["modern - paper"] = errors["modern"] - errors["paper"]
errors.agg(["mean", "std"]).mul(100).round(2).rename_axis("test error, %, n = 5 seeds")

# %% [markdown]
# These are 1,797 scans of 8x8 pixels and 5 passes: not MNIST, and not the answer.
# Today's network moves once for 64 images, 105 times in all, that of 1998 after each of
# 6,485. The answer comes from published records, of networks trained on MNIST: the
# chart is drawn from them alone, each change taken from today's network and put into
# that of 1998.

# %%
names = ("leave_one_out", "one_factor")
published = [study.published_study(Path("outputs") / name) for name in names]
effects = [study.study_effects(one) for one in published]
display(study_report.two_study_chart(published, effects).figure)

# %% [markdown]
# ## Saliency
# Which pixels speak for the class that the network reads: the gradient, gradient times
# input, integrated gradients, SmoothGrad, and Grad-CAM in the last row.

# %%
digits = data.load_data("digits", None)
seen = analysis.subject(found["modern"][0], output_dir, digits)
first = analysis.first_of_each(digits.test_labels)
images, labels = digits.test_images[first].numpy(), digits.test_labels[first].tolist()
maps = analysis.of_saliency(seen, analysis.SPECS)
display(interpretation_maps.ten_digits("saliency", maps, images, labels))

# %% [markdown]
# ## Grad-CAM
# The maps of the last convolution, weighted by their mean gradient, placed where their
# units look, and stretched over the image as is usual: the two differ.

# %%
maps = analysis.of_gradcam(seen, analysis.SPECS)
display(interpretation_maps.ten_digits("gradcam", maps, images, labels))

# %% [markdown]
# ## Probes
# What a linear classifier reads from each layer: accuracy on test digits, means over
# five seeds, and selectivity, its accuracy minus the share of shuffled labels that the
# same probe learns by heart.

# %%
few = probe.Probe(train=500, test=300, iterations=100, epsilon=0.0)
learned, tested = seen.train(few.train), seen.test(few.test)
models = {name: run_record.load_stack(runs, output_dir) for name, runs in found.items()}
read = {
    name: probe.selectivity(
        probe.probes(model, learned, {"clean": tested[0]}, tested[1], few)
    )
    .groupby("layer", sort=False)[["accuracy", "selectivity"]]
    .mean()
    for name, model in models.items()
}
pd.concat(read, axis=1).round(3)

# %% [markdown]
# ## Sparse autoencoders
# F6 rebuilt from a few latents of a dictionary four times as wide: the fraction of its
# variance that is left unexplained, and the network's error with F6 so replaced, beside
# as many principal components.

# %%
sparse = sae.Sae(train=1000, test=300, steps=300, active=(1, 4, 16), penalty=(1.0,))
rebuilt = sae.sparsity_curve(
    models["modern"], seen.train(sparse.train)[0], *seen.test(sparse.test), sparse
)
rebuilt.groupby(["method", "setting"])[["l0", "fvu", "dead", "error"]].mean().round(3)

# %% [markdown]
# ## Attacks: FGSM and PGD, untargeted and targeted
# Images changed by at most 0.1 a pixel, of values in [0, 1]. Untargeted: any wrong
# answer will do. Targeted: the answer is to be the next class. FGSM is one step of PGD.

# %%
pixels, answers = seen.test(200)
goals = {
    "untargeted": Untargeted(answers),
    "targeted": Targeted((answers + 1) % 10, answers),
}
ball = {"epsilon": 0.1}
attacks = {
    (name, method, goal): run(models[name], pixels, goals[goal], **ball, **numbers)
    for name in models
    for method, run, numbers in (
        ("FGSM", fgsm, {}),
        ("PGD, 20 steps", pgd, {"step": 0.0125, "steps": 20}),
    )
    for goal in goals
}
success = pd.Series(
    {key: one.reached.double().mean().item() for key, one in attacks.items()}
)
success.unstack().mul(100).round(1).rename_axis(["preset", "success, % of 200 images"])

# %% [markdown]
# Ten digits, and what FGSM (untargeted) and PGD (targeted) make of them for the modern
# network of seed 0: in the corner of each, what it reads.

# %%
shown = {
    "FGSM": attacks["modern", "FGSM", "untargeted"],
    "PGD,\ntargeted": attacks["modern", "PGD, 20 steps", "targeted"],
}
rows = {"image": (pixels[:10], models["modern"](pixels[:10])[0])} | {
    name: (one.images[0, :10], one.logits[0, :10]) for name, one in shown.items()
}
figure = Figure(figsize=(9, 2.8), layout="constrained")
axes = figure.subplots(len(rows), 10)
for line, (name, (drawn, logits)) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for place, digit, read_as in zip(line, drawn, logits.argmax(-1), strict=True):
        place.imshow(torch.as_tensor(digit).reshape(28, 28), "gray_r", vmin=0, vmax=1)
        place.text(1, 5, f"{read_as}", color=ORANGE, weight="bold")
        place.set(xticks=[], yticks=[])
display(figure)
