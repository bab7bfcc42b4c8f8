"""What a fork of the forkserver finds done: imports, plugins, tbv8's sources, sample prices."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

from tests.e2e.forked import ROOT

_LIBRARIES = (
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
)

for name in _LIBRARIES:
    importlib.import_module(name)
for path in sorted((ROOT / "tbv8").rglob("*.py")):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[:2] != ("tbv8", "commands"):  # they change the process that imports them
        importlib.import_module(".".join(parts).removesuffix(".__init__"))
plugins = importlib.metadata.entry_points()  # of all installed packages: 20 ms for each start
sys.modules["doit.plugin"].entry_points_impl = lambda: plugins.select
source = sys.modules["tbv8.config.source"]  # it keeps a file's imports and digest, too
for path in source.project_imports(sorted(source.STRATEGIES.glob("*.py")), root=ROOT):
    source.digest_source(path)
sample = sys.modules["tbv8.venues.sample"]
for symbol in sample.SYMBOLS:
    sample.minute_bars(symbol, sample.SPAN)  # keeps its half year, as in any process
