"""Several operators: the engine as a child process, testnets, validators (docs/consensus.md)."""
