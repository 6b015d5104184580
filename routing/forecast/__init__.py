"""The congestion forecast: features, training, scores, live use, tables (docs/forecast.md)."""
