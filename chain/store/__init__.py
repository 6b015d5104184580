"""The ledger on disk: database, packed tables, restart, backup, pruning, snapshots."""
