"""A folder for the Hugging Face hub: a model card, config.json, the weights.

Everything the card states is measured: the error on the test images, how many were
read, and what the network was trained with. Nothing is uploaded.
"""

import json
from pathlib import Path

from lenet.config import FACTORS
from lenet.export import formats
from lenet.export.formats import Plain
from lenet.interpret.trained_network import Trained
from lenet.records import atomic_files
from lenet.rounding import decimals

CARD = """\
---
license: mit
library_name: lenet
pipeline_tag: image-classification
tags: [lenet-5, mnist, digits]
datasets: [{data}]
metrics: [accuracy]
model-index:
- name: LeNet-5 ({name})
  results:
  - task: {{type: image-classification}}
    dataset: {{name: {data}, type: {data}, split: test}}
    metrics: [{{type: accuracy, value: {accuracy}}}]
---

# LeNet-5, {name}

LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998), trained on {data}. It misreads
{wrong:,} of {images:,} test images: {percent} %. That is one network; another seed
of the same training gives another error.

| | |
| --- | --- |
{rows}

## Use

```python
import lenet

net = lenet.load("{name}")        # or lenet.load("<this folder>")
net.predict("seven.png").digit    # any size, dark on light or light on dark
```

`model.safetensors` has the weights by the paper's names, `config.json` the levels that
it was trained with, `record.json` the whole record of its training. For other programs:
`lenet export run=<this folder> format=onnx`.

## Limits

It reads single digits, drawn light on black and centred as MNIST's were (`predict` does
that). It was trained on nothing else, says one of ten digits to whatever it is shown,
and is changed by small perturbations of its input.
"""


def write_model_card(net: Trained, folder: Path) -> list[Path]:
    """The files of a folder for the hub."""
    about = formats.network_facts(net)
    config = {"model_type": "lenet5", **about}
    files = {
        "README.md": card(net),
        "config.json": json.dumps(config, indent=2) + "\n",
        "record.json": json.dumps(net.record, indent=1),
    }
    for name, content in files.items():
        atomic_files.replace(folder / name, content.encode())
    weights = store_weights(net, folder / "model.safetensors")
    return [folder / name for name in files] + [weights]


def store_weights(net: Trained, path: Path) -> Path:
    """The weights as the run keeps them, so that their hash is the record's."""
    from safetensors.torch import save

    state = net.model.state_dict().items()
    atomic_files.replace(
        path, save({name: tensor[0].contiguous() for name, tensor in state})
    )
    return path


def card(net: Trained) -> str:
    """The text of README.md."""
    record, treatment = net.record, net.treatment
    rows = [
        f"| {factor} | {treatment[factor]} |"
        for factor in FACTORS
        if factor in treatment
    ]
    numbers = ("epochs", "batch_size", "dropout")
    rows += [f"| {key.replace('_', ' ')} | {treatment[key]} |" for key in numbers]
    weights = sum(tensor.numel() for tensor in Plain(net).buffers())
    rows += [f"| seed | {record['seed']} |", f"| run | `{record['run_id']}` |"]
    rows.append(f"| code | commit `{record['code']['commit']}` |")
    rows.append(f"| numbers stored | {weights:,} |")
    images = record["images"]
    return CARD.format(
        name=net.name,
        data=treatment["data"],
        accuracy=decimals(1 - net.test_error, 4),
        wrong=round(net.test_error * images),
        images=images,
        percent=decimals(100 * net.test_error),
        rows="\n".join(rows),
    )
