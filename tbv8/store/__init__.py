"""The database: its schema, bars of every dataset, and the ledger that says where they came from."""
