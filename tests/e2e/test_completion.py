"""What shells make of the scripts of `doit tabcompletion`."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.e2e.conftest import Project

SHELLS = {
    "bash": """
doit() { "$PYTHON" -m doit "$@"; }
source <(doit tabcompletion)
complete_line() {
    COMP_LINE="$1" COMP_POINT=${#1}
    _doit
    printf '%s\\n' "${COMPREPLY[@]}" .
}
complete_line 'doit pl'
complete_line 'doit -n 2 aggregate:sample:BTC/USDT:1'
complete_line 'doit clea'
complete_line 'doit trades btc'
complete_line 'doit compare x'
complete_line 'doit trades btc_usdt_perp_v1 --la'
complete_line 'doit paper:btc_usdt_perp_v1 --ne'
""",
    "zsh": """
doit() { "$PYTHON" -m doit "$@" }
compdef() { }
compadd() { shift; for name in $@; do [[ $name == $word* ]] && echo $name; done; echo . }
source <(doit tabcompletion --shell zsh)
for word in pl aggregate:sample:BTC/USDT:1 clea; do _doit; done
words=(doit trades) word=btc; _doit
words=(doit compare) word=x; _doit
words=(doit trades btc_usdt_perp_v1) word=--la; _doit
words=(doit paper:btc_usdt_perp_v1) word=--ne; _doit
""",
    "fish": """
function doit; $PYTHON -m doit $argv; end
doit tabcompletion --shell fish | source
for word in pl aggregate:sample:BTC/USDT:1 clea 'trades btc' 'compare x' \
    'trades btc_usdt_perp_v1 --la' 'paper:btc_usdt_perp_v1 --ne'
    complete -C "doit $word"; echo .
end
""",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_tasks_ids_and_options_are_completed_and_what_only_refuses_is_not(
    finished: Project, shell: str
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")

    end = subprocess.run(
        [shell, "-c", SHELLS[shell]],
        cwd=finished.root,
        env={
            "PYTHON": sys.executable,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(finished.root),
            "HOME": str(finished.root),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    first = "" if shell != "bash" else "aggregate:sample:BTC/USDT:"
    words = [first + line if line[:2] in ("15", "1h") else line for line in end.stdout.split()]
    assert words == [
        *("plan", "."),
        *("aggregate:sample:BTC/USDT:15m", "aggregate:sample:BTC/USDT:1h", "."),
        ".",
        *("btc_usdt_perp_v1", "."),
        ".",
        *("--last", "."),
        *("--new", "."),
    ], end.stderr
