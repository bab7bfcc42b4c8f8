"""Many trials of one strategy: search, walk-forward, and how much of the best is luck."""
