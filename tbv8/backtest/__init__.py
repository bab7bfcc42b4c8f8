"""From bars in the store through NautilusTrader to result files."""
