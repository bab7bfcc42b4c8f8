"""Self-contained HTML pages: they open offline, and the same input gives the same bytes."""
