"""What the signal is where nobody measured it, with its uncertainty (docs/estimator.md)."""
