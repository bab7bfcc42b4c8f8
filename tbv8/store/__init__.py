"""The database: its schema, bars of every dataset, and the ledger with their origin."""
