"""The ledger's HTTP service: table of routes, handlers, views of the state, the one writer."""
