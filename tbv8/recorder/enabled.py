"""The venues to record; light to import, for checks before a recorder starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tbv8.config.records import Venue
from tbv8.errors import ConfigError
from tbv8.venues.registry import VENUES, find_venue


def enabled_venues(venues: Iterable[Venue]) -> list[Venue]:
    """Return the enabled venues.

    Raises:
        ConfigError: There is none, or one of them cannot be recorded.
    """
    enabled = [venue for venue in venues if venue.enabled]
    if not enabled:
        problem = f"no venue is enabled: write `enabled: true` into one of {recordable()}"
        raise ConfigError(problem, path=Path("config/venues"))
    for venue in enabled:
        if find_venue(venue.name).live is None:
            raise ConfigError(
                "tbv8 cannot record this venue, only backfill it: set `enabled: false`",
                path=Path(f"config/venues/{venue.name}.yaml"),
                key="enabled",
            )
    return enabled


def recordable() -> str:
    """Return the names of all venues that tbv8 can record, joined by commas."""
    return ", ".join(name for name, venue in VENUES.items() if venue.live is not None)
