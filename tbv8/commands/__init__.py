"""The project's own doit commands, one per module: they inspect or tidy, and run no task."""
