"""Bandwidth jobs: what is promised, and when and by which way the bytes go (docs/jobs.md)."""
