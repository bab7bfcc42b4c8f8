"""Paper trading: a session that is fed as its bars close, from a journal that can be replayed."""
