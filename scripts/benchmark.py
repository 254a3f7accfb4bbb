"""Seconds per 60,000-image epoch and run, side by side: python scripts/benchmark.py

The same network (full connection, max pooling, ReLU, softmax, Adam) on the same images:
torchvision's MNIST in a DataLoader with per-image transforms, a plain loop over tensors
in memory, and stacks of runs; and LeNet-5 of 1998 (sdlm, batch 1). `test` is the test
after a pass, the seconds of 10,000 images. Each case is a process of its own: the best
of three passes (`repeats=3`) over `images=6400` images, a tenth of them at batch 1.
`cases=` keeps the cases whose name contains a word; `device=cuda` has its own. A share
is that of the sgemm rate measured in the same run, at 2.264 MFLOP an image; `times` is
how many times as fast as the plain loop in memory with two threads at that batch size.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet.config import Refusal, composed, suggest
from lenet.terminal import command, typed
from lenet.train import choose_device, reuse_memory
from lenet.training import data as datasets
from lenet.training.stack import Stack

DEVICES = ("cpu", "cuda")
EPOCH, MFLOP = 60_000, 2.264  # forward and backward of one image, modern structure
TYPED = {
    **{"repeats": "3", "images": "6400", "cases": "", "device": "cpu", "data_dir": ""},
    "child": "",  # one case, of which this process is to measure the seconds
}


def tutorial_network() -> nn.Module:
    """The tutorials' LeNet-5: 61,706 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


def take_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> None:
    """One step of the usual loop."""
    optimizer.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def dataloader(
    root: str, count: int, batch: int, workers: int, affine: bool
) -> Callable[[], None]:
    """A pass of the tutorials' loop: per-image transforms in a DataLoader."""
    from torchvision import datasets as vision
    from torchvision import transforms

    moves = [transforms.RandomAffine(0, (0.1, 0.1), (0.75, 1.3), 10)] if affine else []
    normalize = transforms.Normalize((0.1307,), (0.3081,))
    transform = transforms.Compose([*moves, transforms.ToTensor(), normalize])
    images = vision.MNIST(root, train=True, transform=transform)
    part = torch.utils.data.Subset(images, range(count))
    loader = torch.utils.data.DataLoader(part, batch, True, num_workers=workers)
    model = tutorial_network()
    optimizer = torch.optim.Adam(model.parameters())

    def run() -> None:
        for x, y in loader:
            take_step(model, optimizer, x, y)

    return run


def in_memory(data: datasets.Data, count: int, batch: int) -> Callable[[], None]:
    """A pass of a plain loop: normalised float images in one tensor."""
    x = (data.train_images[:count, None].float() / 255 - 0.1307) / 0.3081
    y, model = data.train_labels[:count], tutorial_network().to(x.device)
    optimizer = torch.optim.Adam(model.parameters())

    def run() -> None:
        for index in torch.randperm(count, device=x.device).split(batch):
            take_step(model, optimizer, x[index], y[index])

    return run


def our_training(
    data: datasets.Data, count: int, case: dict[str, Any]
) -> Callable[[], None]:
    """A pass of a stack of runs, or its test."""
    line = [f"preset={case.get('preset', 'modern')}", f"batch_size={case['batch']}"]
    augmentation = "affine_1998" if case["affine"] else "none"
    line += [f"augmentation={augmentation}", f"train_size={count}", "epochs=1"]
    configs, _ = composed([*line, f"replicates={case['runs']}"])
    stack = Stack.start(configs, data)

    def run() -> None:
        if case["loop"] == "test":
            stack.answers(data.test_images, data.test_labels)
        else:
            stack.run_epoch(0, data, lambda progress: None)

    return run


def measured_seconds(case: dict[str, Any], given: dict[str, Any]) -> float:
    """The seconds that 60,000 images and one run take in this process."""
    torch.set_num_threads(case["threads"])
    device = torch.device(given["device"])
    data = datasets.load_data("mnist", given["data_dir"] or None, device)
    count = int(given["images"]) // (1 if case["batch"] > 1 else 10)
    shared = (data, count, case["batch"])
    if case["loop"] == "DataLoader":
        root = given["data_dir"] or os.environ.get("LENET_DATA") or "data"
        run = dataloader(root, *shared[1:], case["workers"], case["affine"])
    elif case["loop"] == "in memory":
        run = in_memory(*shared)
    else:
        reuse_memory()
        run = our_training(data, count, case)
    best = float("inf")
    for _ in range(int(given["repeats"]) + 1):  # the first one warms up
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    if case["loop"] == "test":
        return best / case["runs"]
    return best * EPOCH / count / case.get("runs", 1)


def sgemm(threads: int) -> float:
    """MFLOP per second of a 2048 x 2048 matrix product, the best of ten."""
    torch.set_num_threads(threads)
    a, b, best = torch.rand(2048, 2048), torch.rand(2048, 2048), float("inf")
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best / 1e6


def compared_cases(device: str) -> list[dict[str, Any]]:
    """What is compared; a plain loop comes before what is measured by it."""
    if device == "cuda":
        sizes = (1, 16, 64, 256, 1024)
        alone = {"batch": 64, "threads": 1, "affine": False, "processes": 1}
        return [{"loop": "ours", "runs": runs, **alone} for runs in sizes]
    cases: list[dict[str, Any]] = []
    for batch, affine in ((64, False), (64, True), (1, False)):
        about: dict[str, Any] = {"batch": batch, "affine": affine, "processes": 1}
        if not affine:
            for threads in (2, 1):
                cases.append({"loop": "in memory", "threads": threads, **about})
        for workers in (0, 2):
            cases.append(
                {"loop": "DataLoader", "workers": workers, "threads": 2, **about}
            )
        for runs, threads in product((1, 2, 3, 7, 8, 16), (1, 2)):
            cases.append({"loop": "ours", "runs": runs, "threads": threads, **about})
        two = {**about, "processes": 2}
        cases.append({"loop": "ours", "runs": 8, "threads": 1, **two})
    about = {"batch": 1, "affine": False, "processes": 1}
    about["preset"] = "paper"
    for runs, threads in ((1, 1), (1, 2), (8, 1), (8, 2)):
        cases.append({"loop": "ours", "runs": runs, "threads": threads, **about})
    about |= {"loop": "test", "batch": 64, "runs": 1}
    for preset, threads in product(("modern", "paper"), (1, 2)):
        cases.append({**about, "preset": preset, "threads": threads})
    return cases


def time_case(case: dict[str, Any], arguments: Sequence[str]) -> float:
    """The seconds of a case, in processes of its own that run at the same time."""
    line = [sys.executable, __file__, f"child={json.dumps(case)}", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(case["threads"])}
    children = [
        subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(case["processes"])
    ]
    seconds = [float(child.communicate()[0]) for child in children]
    # The mean of so many processes, which trained so many times as many runs meanwhile.
    return sum(seconds) / len(seconds) ** 2


def case_name(case: dict[str, Any]) -> str:
    """A case in words."""
    words = [case["loop"]]
    words += [f"{case['workers']} workers"] if "workers" in case else []
    words += [f"R = {case['runs']}"] if "runs" in case else []
    words += [case["preset"]] if "preset" in case else []
    words += [f"{case['processes']} processes"] if case["processes"] > 1 else []
    return ", ".join(words)


def main() -> None:
    """The entry point."""
    arguments = sys.argv[1:]
    given = checked_arguments(typed(arguments, TYPED))
    if given["child"]:
        print(measured_seconds(case_of(given), given))
        return
    datasets.load_data("mnist", given["data_dir"] or None)  # or say what is missing
    rate = {threads: sgemm(threads) for threads in (1, 2)}
    print(
        f"sgemm: {rate[1] / 1e3:.0f} GFLOP/s on one thread, "
        f"{rate[2] / 1e3:.0f} on two\n"
    )
    print(
        "| loop | batch | affine | threads | s per epoch and run | times | of sgemm |"
    )
    print("|---|---|---|---|---|---|---|")
    plain: dict[int, float] = {}
    for case in compared_cases(given["device"]):
        if given["cases"] not in case_name(case):
            continue
        seconds, threads = (
            time_case(case, arguments),
            case["threads"] * case["processes"],
        )
        if case["loop"] == "in memory":
            plain.setdefault(case["batch"], seconds)
        print(
            f"| {' | '.join(row_cells(case, seconds, threads, plain, rate))} |",
            flush=True,
        )


def checked_arguments(given: dict[str, str]) -> dict[str, str]:
    """What was typed, if it can be measured; a Refusal if not."""
    for key, least, most in (("images", 640, EPOCH), ("repeats", 1, 1000)):
        text = given[key]
        if not text.isdecimal() or not least <= int(text[:9]) <= most:
            raise Refusal(
                f"{key}={text} is out of range: a whole number from {least} to {most}"
            )
    if given["device"] not in DEVICES:
        raise Refusal(suggest(given["device"], DEVICES, "device", "devices"))
    if given["device"] == "cuda":
        choose_device("cuda")
    if not any(
        given["cases"] in case_name(case) for case in compared_cases(given["device"])
    ):
        listed = ", ".join(
            dict.fromkeys(map(case_name, compared_cases(given["device"])))
        )
        raise Refusal(f"cases={given['cases']} fits none of: {listed}")
    return given


def case_of(given: dict[str, str]) -> dict[str, Any]:
    """The case that this process is to measure, as its parent wrote it."""
    for case in compared_cases(given["device"]):
        if json.dumps(case) == given["child"]:
            return case
    raise Refusal("child= is for the processes that this program starts: leave it out")


def row_cells(
    case: dict[str, Any],
    seconds: float,
    threads: int,
    plain: dict[int, float],
    rate: dict[int, float],
) -> list[str]:
    """A row of the table; a test and 1998 do other work than the plain loop."""
    other = "preset" in case
    times = plain[case["batch"]] / seconds if case["batch"] in plain else None
    share = MFLOP * EPOCH / seconds / rate[min(threads, 2)]
    return [
        case_name(case),
        str(case["batch"]),
        "yes" if case["affine"] else "no",
        str(threads),
        f"{seconds:.2f}",
        "" if other or times is None else f"{times:.1f}",
        "" if other else f"{share:.0%}",
    ]


if __name__ == "__main__":
    command(main)
