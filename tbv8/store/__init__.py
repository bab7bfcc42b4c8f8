"""The database: its schema, bars of every dataset, and the ledger that tells their origin."""
