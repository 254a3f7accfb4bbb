"""Tab completion for a shell: lenet completion bash, zsh or fish

bash   eval "$(lenet completion bash)"                  in ~/.bashrc
zsh    eval "$(lenet completion zsh)"                   in ~/.zshrc
fish   lenet completion fish | source                   in ~/.config/fish/config.fish

Completes commands, keys, the levels of a group, and the names of designs and studies.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from lenet.commands import VERBS, module_docstring
from lenet.config import CONF, Refusal, suggest, typed_keys
from lenet.terminal import Said

SHELLS = {
    "bash": """\
_lenet() {
  local IFS=$'\\n'
  COMPREPLY=($(lenet completion words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o default -F _lenet lenet""",
    "zsh": """\
_lenet() {
  local -a found
  local typed=("${words[@]:1:$((CURRENT - 1))}")
  found=("${(@f)$(lenet completion words "${typed[@]}" 2>/dev/null)}")
  compadd -S '' -a found || _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _lenet lenet""",
    "fish": """\
function __lenet
  set -l typed (commandline -opc) (commandline -ct)
  lenet completion words $typed[2..-1] 2>/dev/null
end
complete -c lenet -a '(__lenet)'""",
}
TRAINING = ("train", "sweep")  # commands that take every key of a run


def main(arguments: Sequence[str]) -> Said:
    """The script of a shell, or the words that may follow those that are typed."""
    if arguments[:1] == ["words"]:
        following = words(arguments[1:])
        return Said("\n".join(following), {"words": following})
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        typed = " ".join(arguments) or "nothing"
        raise Refusal(suggest(typed, SHELLS, "shell", "shells"))
    script = SHELLS[arguments[0]]
    return Said(script, {"script": script})


def words(typed: Sequence[str]) -> list[str]:
    """What the last word may become: a command, a key=, or a key=value."""
    last = typed[-1] if typed else ""
    if len(typed) < 2:
        return [verb for verb in VERBS if verb.startswith(last)]
    key, sign, _ = last.partition("=")
    if sign:
        offered = [f"{key}={value}" for value in possible_values(key, typed)]
    else:
        offered = [f"{name}=" for name in sorted(known_keys(typed[0]))]
    return [word for word in offered if word.startswith(last)]


def known_keys(verb: str) -> set[str]:
    """The keys of a command: those that its help names, and those of a run."""
    if verb not in VERBS:
        return set()
    named = set(re.findall(r"\b([a-z_]+)=", module_docstring(verb)))
    return named | (typed_keys() if verb in TRAINING else set())


def possible_values(key: str, typed: Sequence[str]) -> list[str]:
    """What a key may be: a group's levels, designs, studies, runs, networks."""
    from lenet.commands import status
    from lenet.records import plan
    from lenet.sweep import design

    places = [
        word.partition("=")[2] for word in typed if word.startswith("output_dir=")
    ]
    root = Path(places[-1] if places else "outputs").expanduser()
    if key == "study":
        return plan.study_names(root)
    if key == "run":
        runs = sorted(path.parent.name for path in root.glob("runs/*/record.json"))
        return [*(net["network"] for net in status.nets()), *runs]
    if key == "design":
        return design.available()
    return sorted(path.stem for path in (CONF / key).glob("*.yaml"))
