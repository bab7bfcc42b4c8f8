"""Times as the pages show them."""

from __future__ import annotations

import numpy as np

from tbv8.page.words import minute, minutes
from tests.builders import at


def test_many_times_are_shown_as_single_ones_are() -> None:
    times_ms = [at("2024-01-31T12:00:00"), at("2024-02-01T00:00:07") + 999, at("1969-12-31")]
    texts = ["2024-01-31 12:00", "2024-02-01 00:00:07", "1969-12-31 00:00"]

    assert minutes(np.array(times_ms, dtype=np.int64)) == texts
    assert [minute(ts_ms) for ts_ms in times_ms] == texts
    assert minutes(np.array([], dtype=np.int64)) == []
