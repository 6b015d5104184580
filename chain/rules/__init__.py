"""The rules of the ledger, one file per subject; verbs: is_ tests, get_ reads, compute_ derives, process_ changes."""
