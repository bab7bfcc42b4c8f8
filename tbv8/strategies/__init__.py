"""Strategies, one per module: a class and its config class, with nautilus_trader alone."""
