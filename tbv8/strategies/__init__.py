"""One module a strategy, yours included: a class and its config class, and nautilus_trader only."""
