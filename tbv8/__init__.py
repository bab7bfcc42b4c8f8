"""Declarative crypto market research: YAML in, reproducible backtests out."""
