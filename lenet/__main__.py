"""LeNet-5, ablated: train networks, carry out studies, draw and use what came out.

lenet train data=digits epochs=5                 a network in seconds, no download
lenet sweep design=quick                         a study with its chart
lenet predict seven.png                          what a published network reads
lenet chart table=runs.csv response=accuracy "reference=[optimizer=sgd]"
                                                 the ablation chart of anybody's runs
"""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from lenet.commands import VERBS, module_docstring

EXPLAINING = ("train", "sweep", "interpret")  # whose help also lists what there is
HELP = ("--help", "-h")


def explain() -> str:
    """What `lenet --help` says; read from the modules' texts, nothing is imported."""
    verbs = [f"  {verb:<12}{module_docstring(verb).splitlines()[0]}" for verb in VERBS]
    return "\n".join(
        [
            __doc__,
            "Commands (each has --help, and --json for its result as JSON):",
            *verbs,
        ]
    )


def verb_module(verb: str) -> Any:
    """The module of a command, imported."""
    return importlib.import_module(f"lenet.commands.{verb}")


def explain_verb(verb: str) -> str:
    """What `lenet <verb> --help` says."""
    if verb in EXPLAINING:
        return str(verb_module(verb).explain())
    return module_docstring(verb)


def run_verb(verb: str, arguments: Sequence[str]) -> None:
    """Do what one command means, and print its result as text or as JSON."""
    from lenet.terminal import JSON, say

    own = verb == "train"  # Hydra has its result, and it prints that
    result = verb_module(verb).main([text for text in arguments if own or text != JSON])
    if result is not None:
        say(json.dumps(result.data) if JSON in arguments else result.text)


def run_script(verb: str) -> None:
    """The command as a program of scripts/ or `python -m`: its arguments are typed."""
    from lenet.terminal import command

    command(lambda: run_verb(verb, sys.argv[1:]), lambda: explain_verb(verb))


def main() -> None:
    """The entry point `lenet`."""
    typed = sys.argv[1:]
    if not typed or typed[0] in HELP:
        try:
            print(explain(), flush=True)
        except BrokenPipeError:  # `| head`; terminal.say takes too long to import here
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    from lenet.terminal import command

    command(lambda: run_typed(typed), lambda: explain_verb(known_verb(typed[0])))


def run_typed(typed: Sequence[str]) -> None:
    """Run the command that is named first; a Refusal if it is none."""
    verb, *arguments = typed
    run_verb(known_verb(verb), arguments)


def known_verb(verb: str) -> str:
    """The command that is named; a Refusal if it is none."""
    from lenet.config import Refusal, suggest

    if verb not in VERBS:
        raise Refusal(suggest(verb, VERBS, "command", "commands"))
    return verb


if __name__ == "__main__":
    main()
