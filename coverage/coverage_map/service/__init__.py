"""The map's HTTP API: routes, handlers, answers (docs/map-api.md)."""
