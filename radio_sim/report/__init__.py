"""A run's report: gathered while it runs, drawn as one page."""
