"""`doit rules`: the trading rules in config/venues, compared with those that venues publish."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
from doit.exceptions import InvalidCommand

from tbv8.commands.base import JSON, ProjectCommand, print_json
from tbv8.config.document import plain, unknown
from tbv8.config.records import Project, Venue
from tbv8.errors import VenueError
from tbv8.files import replacing
from tbv8.market import Series
from tbv8.text import one_line
from tbv8.venues.base import Endpoints
from tbv8.venues.base import Rules as PublishedRules

_KEYS = PublishedRules.__struct_fields__
_UNREACHED = 3  # exit code
_NO_VENUE = "no venue was queried: no enabled venue publishes rules and has `instruments`"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A rule with different values in the venue's file and in its published rules."""

    venue: str
    symbol: str
    key: str
    configured: str
    published: str


class Rules(ProjectCommand):
    """Compare the configured trading rules with the published ones."""

    doc_purpose = "compare tick, lot, fees and limits in config/venues with what the venues publish"
    doc_usage = "[--venue mexc] [--write]"
    doc_description = (
        "Queries each enabled venue, or the one of --venue, and shows where its file differs. "
        "--write changes those values in the file and keeps its comments and its order. Exits with "
        "1 if there are differences that were not written, with 3 if a venue cannot be reached."
    )
    cmd_options = (
        JSON,
        {"name": "venue", "long": "venue", "type": str, "default": "", "help": "only this venue"},
        {
            "name": "write",
            "long": "write",
            "type": bool,
            "default": False,
            "help": "write the published values into config/venues",
        },
    )

    def _execute(self, as_json: bool, venue: str, write: bool, pos_args: Sequence[str]) -> int:
        if pos_args:
            raise InvalidCommand(f"{pos_args[0]!r}: choose with --venue")
        project: Project = self.loader.namespace["PROJECT"]
        published: dict[Series, PublishedRules] = {}
        errors: list[str] = []
        for selected in _select_venues(project, venue):
            try:
                published |= _fetch(selected)
            except VenueError as e:
                errors.append(str(e))
        differences = list(_differences(project, published))
        written = _write(project, differences) if write else []
        if as_json:
            print_json(_to_json(published, differences))
        else:
            _print(published, differences, written)
            if not published and not errors:
                print(_NO_VENUE)
        for problem in errors:
            sys.stderr.write(f"ERROR: {problem}\n")
        return _UNREACHED if errors else 1 if differences and not write else 0


def _select_venues(project: Project, name: str) -> list[Venue]:
    """Return the venues to query: the enabled ones that publish rules, or the named one."""
    with_rules = {
        venue.name: venue for venue in project.venues.values() if venue.rules and venue.instruments
    }
    if not name:
        return [venue for venue in with_rules.values() if venue.enabled]
    if name not in project.venues:
        project.check_file("venue", name)
        raise InvalidCommand(f"--venue: {unknown('venue', name, with_rules)}")
    if project.venues[name].rules is None:
        raise InvalidCommand(
            f"--venue: {name} publishes no rules that tbv8 can read: "
            f"choose one of {', '.join(with_rules) or 'none'}"
        )
    if name not in with_rules:
        raise InvalidCommand(
            f"--venue: {name} has no `instruments` to compare: write them into its file in "
            "config/venues, as in hyperliquid.yaml"
        )
    return [with_rules[name]]


def _fetch(venue: Venue) -> dict[Series, PublishedRules]:
    assert venue.rules is not None
    endpoints = Endpoints(rest_url=venue.rest_url, redirect_hosts=venue.redirect_hosts)
    symbols = {symbol: venue.symbols[symbol] for symbol in venue.instruments}

    def log(line: str) -> None:
        sys.stderr.write(f"   {venue.name}: {one_line(line)}\n")

    published = venue.rules(endpoints, log, symbols)
    return {Series(venue.name, symbol): rules for symbol, rules in published.items()}


def _differences(project: Project, published: dict[Series, PublishedRules]) -> Iterator[Difference]:
    for series, rules in published.items():
        configured = project.venues[series.venue].instruments[series.symbol]
        for key in _KEYS:
            value: Decimal | None = getattr(rules, key)
            if value is not None and value != getattr(configured, key):
                yield Difference(
                    venue=series.venue,
                    symbol=series.symbol,
                    key=key,
                    configured=plain(getattr(configured, key)),
                    published=plain(value),
                )


def _write(project: Project, differences: Iterable[Difference]) -> list[Path]:
    """Write the published values into the venues' files; return their paths from the project."""
    from tbv8.config.edit import edit_instruments

    changes: dict[str, dict[str, dict[str, Decimal]]] = {}
    for difference in differences:
        symbols = changes.setdefault(difference.venue, {})
        symbols.setdefault(difference.symbol, {})[difference.key] = Decimal(difference.published)
    written = []
    for venue, symbols in changes.items():
        names = (Path("config/venues") / f"{venue}{suffix}" for suffix in (".yaml", ".yml"))
        relative = next(path for path in names if (project.root / path).is_file())
        path = project.root / relative
        text = edit_instruments(path.read_text(encoding="utf-8"), symbols, path=relative)
        with replacing(path.resolve()) as new:
            new.write_text(text, encoding="utf-8")
        written.append(relative)
    return written


def _to_json(
    published: dict[Series, PublishedRules], differences: Iterable[Difference]
) -> dict[str, object]:
    rules = [
        {"venue": series.venue, "symbol": series.symbol}
        | {key: None if (value := getattr(row, key)) is None else plain(value) for key in _KEYS}
        for series, row in published.items()
    ]
    return {"rules": rules, "differences": [msgspec.to_builtins(each) for each in differences]}


def _print(
    published: dict[Series, PublishedRules],
    differences: Sequence[Difference],
    written: Iterable[Path],
) -> None:
    if differences:
        heads = ("venue", "symbol", "rule", "configured", "published")
        rows = [heads, *map(msgspec.structs.astuple, differences)]
        widths = [max(len(row[index]) for row in rows) for index in range(len(heads))]
        for row in rows:
            print(
                "  ".join(
                    cell.ljust(width) for cell, width in zip(row, widths, strict=True)
                ).rstrip()
            )
    elif len(published) == 1:
        print("1 instrument agrees with the published rules")
    elif published:
        print(f"{len(published)} instruments agree with the published rules")
    for path in written:
        print(f"{path}: written")
    if differences and not written:
        print("`doit rules --write` writes the published values into config/venues")
