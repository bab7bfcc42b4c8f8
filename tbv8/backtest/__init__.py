"""A session fed with a whole history at once, its result, and the check for look-ahead."""
