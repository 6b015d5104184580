"""Test vectors that another implementation can run (docs/vectors.md)."""
