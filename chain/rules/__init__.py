"""The rules, one file per subject: is_ tests, get_ reads, compute_ derives, process_ changes."""
