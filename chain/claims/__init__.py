"""Relays' claims by sum tree: building them and checking them (docs/records.md, type 16)."""
