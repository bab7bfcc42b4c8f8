"""The project's own doit commands, one a module: they look or tidy, and run no task."""
