"""Where traffic should go: telemetry, forecasts, path choice, jobs and AI placement."""
