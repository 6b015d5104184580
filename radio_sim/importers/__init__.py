"""Readers of what community networks publish about themselves."""
