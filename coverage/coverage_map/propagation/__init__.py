"""Propagation formulas: what planners predict with and the simulator builds its world on."""
