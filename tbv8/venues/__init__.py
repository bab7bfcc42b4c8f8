"""One module a venue; its jargon and its wire format end here."""
