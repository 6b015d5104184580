"""What outsiders check: log, checkpoints, tiles, witnesses, balances, promises (docs/proofs.md)."""
