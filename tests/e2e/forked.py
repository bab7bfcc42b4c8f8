"""`doit` in processes that find tbv8 and the libraries imported, most of a short command.

A forkserver imports them once for a worker of pytest (tests/e2e/preloaded.py). Its forks have a
folder, an environment, files and an exit code of their own; in a project with a tbv8 of its own
they import that one. Start a real process for what depends on how Python starts or ends: signals, a
terminal, closed files, variables PYTHON*.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from subprocess import CompletedProcess

ROOT = Path(__file__).parents[2]
_PYTHON = (sys.base_prefix, f"{sys.prefix}/lib")


def run_doit(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float
) -> CompletedProcess[str]:
    """Run `python -m doit` to its end in a fork of the forkserver."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "out"), Path(folder, "err")
        child = _forkserver().Process(target=_doit, args=(words, cwd, dict(env), *files))
        child.start()
        child.join(timeout_s)
        if child.exitcode is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.join()
        out, err = (path.read_text(encoding="utf-8") for path in files)
        return CompletedProcess(["doit", *words], child.exitcode, out, err)


@cache
def _forkserver() -> ForkServerContext:
    """Start the forkserver, in the folder where it finds `tests`."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.e2e.preloaded"])
    with chdir(ROOT):
        ensure_running()
    return server


def _doit(words: Sequence[str], cwd: Path, env: dict[str, str], out: Path, err: Path) -> None:
    """Become `python -m doit` with a folder, an environment and files of its own."""
    multiprocessing.set_start_method(None, force=True)  # pydoit's -n forks
    multiprocessing.process._parent_process = None
    os.setsid()
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    sys.argv = ["doit", *words]
    installed = [path for path in sys.path if path.startswith(_PYTHON)]
    sys.path = [str(cwd), *env["PYTHONPATH"].split(os.pathsep), *installed]
    _forget_other_tbv8()
    gc.freeze()  # else each collection goes through all libraries
    runpy.run_module("doit", run_name="__main__", alter_sys=True)


def _forget_other_tbv8() -> None:
    """Forget the imported tbv8 unless it is what an import would find by now."""
    first = next(path for path in map(Path, sys.path) if (path / "tbv8").is_dir())
    if Path(sys.modules["tbv8"].__path__[0]) != first / "tbv8":
        for name in [name for name in sys.modules if name.partition(".")[0] == "tbv8"]:
            del sys.modules[name]
