"""One package or module per venue; no other package sees a venue's jargon or wire format."""
