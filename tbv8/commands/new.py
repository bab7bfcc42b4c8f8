"""`doit new`: create commented files for a new strategy or venue in the project's folder."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from doit.exceptions import InvalidCommand

from tbv8.commands.base import ProjectCommand
from tbv8.commands.program_name import with_program_name
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.config.source import STRATEGIES
from tbv8.errors import ConfigError

_STRATEGY = """\
# yaml-language-server: $schema=../.schemas/strategy.schema.json
# Describe {name} in a sentence.
strategy_id: {name}
symbol: {symbol}
timeframe: 5m                             # 1m, 15m, 1h, 4h, 1d, ...
strategy: {module}:{class_name}
params: {{lookback: 48, risk_percent: 0.1}} # fields of {class_name}Config
routing: {{primary: {venue}}}            # the venue whose tick, lot and fees apply
risk: {{max_position_{base}: {position}, max_daily_loss_usd: 100, max_leverage: 2}}
# backtest:                               # without it, config/history.yaml applies
#   market_data_venue: binance_spot
#   start_date: "2024-01-01"
#   end_date: "2024-07-01"
#   starting_balance_usd: 10000
#   warm_up: 0d                           # `doit lookahead:{name}` measures what its signals need
"""

_VENUE = """\
# yaml-language-server: $schema=../.schemas/venue.schema.json
# {name}: its trading rules and fees. Use it in a strategy by `routing: {{primary: {name}}}`.
venue: {name}
enabled: false                            # true: `doit record` connects, if tbv8 supports it
symbols: {{{symbol}: {native}}}              # symbol: the venue's own name
# channels: [trades, bbo, funding]        # recorded by `doit record`; mark is another
# ws_url: wss://...                       # of a testnet, a proxy, a local server; as rest_url
# history: ccxt                           # the source of its 1m bars: an exchange of ccxt
# exchange: {name}                        # (then a symbol's own name is ccxt's, BTC/USDT:USDT)
# history: files                          # or your own files
# path: "bars/{{symbol}}.csv"
instruments:                              # from the venue's pages of contracts and fees
  {symbol}:
    tick_size: "0.1"                      # the smallest price step
    lot_size: "0.001"                     # the smallest quantity step, in base units
    maker_fee: "0.0002"                   # fractions of the notional: this is 0.02 %
    taker_fee: "0.0005"
    max_leverage: 20
    min_notional_usd: 5                   # smaller orders are denied
    # multiplier: 1000                    # if one unit there is 1000 of the symbol's, as kPEPE
    # funding_rate_8h: "0.0001"           # the rate that a long position pays per eight hours
    # funding_hours: 8
"""


class New(ProjectCommand):
    """Create the files of a new strategy or venue."""

    doc_purpose = "create commented files: `new strategy NAME`, `new venue NAME`"
    doc_usage = "strategy NAME | venue NAME"
    doc_description = (
        "`doit new strategy NAME` writes strategies/NAME.py and config/strategies/NAME.yaml, which "
        "`doit backtest:NAME` runs at once. `doit new venue NAME` writes config/venues/NAME.yaml. "
        "Existing files are never replaced."
    )
    cmd_options = ()

    def _execute(self, pos_args: Sequence[str]) -> int:
        kinds = {"strategy": _strategy_files, "venue": _venue_files}
        if len(pos_args) != 2:
            raise InvalidCommand("write `doit new strategy NAME` or `doit new venue NAME`")
        kind, name = pos_args
        if kind not in kinds:
            raise InvalidCommand(unknown("kind", kind, kinds))
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
            problem = "is a word of Python" if keyword.iskeyword(name) else "cannot be a name"
            raise InvalidCommand(
                f"{name!r} {problem}: write lower-case letters, digits and _, a letter first"
            )
        project: Project = self.loader.namespace["PROJECT"]
        files = kinds[kind](project, name)
        for path in files:
            if path.exists():
                raise InvalidCommand(f"{path}: exists already: choose another name")
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(with_program_name(text, self.bin_name), encoding="utf-8")
            print(f"   {path}")
        if kind == "strategy":
            print(f"   ready to run: `doit backtest:{name}`")
        return 0


def _strategy_files(project: Project, name: str) -> Mapping[Path, str]:
    """Return the module of a strategy and its YAML, for a symbol with instrument rules."""
    symbols = project.venues[project.history_venue].symbols
    venues = sorted(project.venues.values(), key=lambda venue: not venue.enabled)
    pairs = ((symbol, venue) for symbol in symbols for venue in venues)
    market = next(((s, venue.name) for s, venue in pairs if s in venue.instruments), None)
    if market is None:
        raise ConfigError(
            f"no venue has `instruments` for a symbol of {project.history_venue}: write them into "
            "one, as in config/venues/hyperliquid.yaml",
            path=Path("config/venues"),
        )
    symbol, venue = market
    base = symbol.partition("/")[0].lower()
    class_name = "".join(part.capitalize() for part in name.split("_"))
    module = Path("strategies") / f"{name}.py"
    source = (STRATEGIES / "template.py").read_text(encoding="utf-8")
    _, _, body = source.partition('"""\n')
    values = {"name": name, "symbol": symbol, "venue": venue, "base": base, "module": module}
    values |= {"class_name": class_name, "position": 0.01 if base == "btc" else 0.1}
    return {
        module: f'"""{class_name}: describe its signals in a sentence."""\n'
        + body.replace("Template", class_name),
        Path("config/strategies") / f"{name}.yaml": _STRATEGY.format(**values),
    }


def _venue_files(project: Project, name: str) -> Mapping[Path, str]:
    """Return the YAML of a venue with the first symbol of the history."""
    symbol = next(iter(project.venues[project.history_venue].symbols))
    text = _VENUE.format(name=name, symbol=symbol, native=symbol.replace("/", ""))
    return {Path("config/venues") / f"{name}.yaml": text}
