"""`doit` in processes that find the libraries imported, which are two thirds of a short command.

A forkserver imports the libraries once for a worker of pytest. Its forks import doit's commands and
all of tbv8 as any process does, and have a folder, an environment, files and an exit code of their
own. Start a real process for what depends on how Python starts or ends: signals, a terminal, closed
files, variables PYTHON*.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(
    [
        "adbc_driver_sqlite.dbapi",
        "alembic.command",
        "alembic.runtime.environment",
        "doit.doit_cmd",
        "doit.loader",
        "doit.runner",
        "doit.reporter",
        "msgspec.json",
        "nautilus_trader.backtest",
        "numpy.random",
        "plotly.graph_objects",
        "polars",
        "pyarrow.compute",
        "requests",
        "rich.table",
        "sqlalchemy.dialects.sqlite",
        "yaml",
    ]
)
_PYTHON = (sys.base_prefix, f"{sys.prefix}/lib")


def run_doit(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float
) -> CompletedProcess[str]:
    """Run `python -m doit` to its end in a fork of the forkserver."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "out"), Path(folder, "err")
        child = _FORKSERVER.Process(target=_doit, args=(words, cwd, dict(env), *files))
        child.start()
        child.join(timeout_s)
        if child.exitcode is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.join()
        out, err = (path.read_text(encoding="utf-8") for path in files)
        return CompletedProcess(["doit", *words], child.exitcode, out, err)


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
    runpy.run_module("doit", run_name="__main__", alter_sys=True)
