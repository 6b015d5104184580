"""Bandwidth jobs, from the sender, the receiver and the command (docs/jobs.md)."""
