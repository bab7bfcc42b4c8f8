"""Completion scripts for bash, zsh and fish: commands, tasks, ids and options.

A script contains the commands and their options; it lists tasks and ids at each completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tbv8.tasks.options import (
    AGGREGATE_OPTIONS,
    BACKFILL_OPTIONS,
    PAPER_OPTIONS,
    RECORD_OPTIONS,
    REPRODUCE_OPTIONS,
)

_BASH = """\
_DOIT() {
    local line=${COMP_LINE:0:COMP_POINT} options="" groups="" words
    local word=${line##* } rest=${line#* }
    case ${rest%%[ :]*} in
CASES
    esac
    words=$(DOIT list --all --quiet 2>/dev/null)
    if [[ $word == -* ]]; then words=$options
    elif [[ $groups ]]; then words=$(sed -nE "s/^($groups)://p" <<< "$words")
    else words="COMMANDS $words"; fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then  # bash adds what follows the colon
        COMPREPLY=("${COMPREPLY[@]#"${word%:*}:"}")
    fi
}
complete -F _DOIT DOIT
"""

_ZSH = """\
_DOIT() {
    local options="" groups=""
    case ${words[2]%%:*} in
CASES
    esac
    local -a names=(${(f)"$(DOIT list --all --quiet 2>/dev/null | tr -d ' ')"})
    if [[ -n $groups ]]; then names=(${${(M)names:#(${~groups}):*}#*:}); else names+=(COMMANDS); fi
    compadd -- $names ${=options}
}
compdef _DOIT DOIT
"""

_FISH = """\
complete -c DOIT -f
complete -c DOIT -n 'not __fish_seen_subcommand_from IDS' \\
    -a 'COMMANDS (DOIT list --all --quiet 2>/dev/null | string trim)'
CASES
"""

SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_GROUPS = {
    "compare": ("backtest", "experiment"),
    "promote": ("experiment",),
    "start": ("paper",),
    "stop": ("paper",),
    "trades": ("backtest",),
    "trials": ("experiment",),
}
"""The groups of tasks whose ids are a command's arguments."""

_TASKS = {
    "aggregate": AGGREGATE_OPTIONS,
    "backfill": BACKFILL_OPTIONS,
    "paper": PAPER_OPTIONS,
    "record": RECORD_OPTIONS,
    "reproduce": REPRODUCE_OPTIONS,
}


def completion_script(shell: str, name: str, commands: Mapping[str, Sequence[str]]) -> str:
    """Return the script for a shell.

    Args:
        shell: A key of `SHELLS`.
        name: The command to complete, `doit` or `tbv8`.
        commands: The long options of each command.
    """
    options = {command: list(longs) for command, longs in commands.items()}
    options |= {
        group: [option["long"] for option in accepted] for group, accepted in _TASKS.items()
    }
    cases = _fish_cases(name, options) if shell == "fish" else _cases(options)
    script = SHELLS[shell].replace("CASES", "\n".join(cases)).replace("IDS", " ".join(_GROUPS))
    return script.replace("DOIT", name).replace("COMMANDS", " ".join(commands))


def _cases(options: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the branches of the script's `case` over the first word."""
    lines = []
    for word, longs in options.items():
        options_text = " ".join(f"--{long}" for long in longs)
        groups = "|".join(_GROUPS.get(word, ()))
        parts = [
            f'options="{options_text}"' if options_text else "",
            f'groups="{groups}"' if groups else "",
        ]
        if any(parts):
            lines.append(f"    {word}) {' '.join(filter(None, parts))} ;;")
    return lines


def _fish_cases(name: str, options: Mapping[str, Sequence[str]]) -> list[str]:
    lines = []
    for word, longs in options.items():
        seen = f"__fish_seen_subcommand_from {word}"
        if word in _TASKS:
            seen = f'string match -qr "^\\S+ {word}\\b" -- (commandline -cp)'
        for long in longs:
            lines.append(f"complete -c {name} -n '{seen}' -l {long}")
        for group in _GROUPS.get(word, ()):
            ids = f"string replace -rf '^{group}:(\\S+).*' '\\$1'"
            listed = f"({name} list --all --quiet 2>/dev/null | {ids})"
            lines.append(f'complete -c {name} -n "{seen}" -a "{listed}"')
    return lines
