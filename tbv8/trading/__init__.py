"""A strategy on NautilusTrader, fed with bars in any number of pieces: orders in, fills out."""
