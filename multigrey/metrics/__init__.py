"""Metrics for Prometheus and health checks, over HTTP; see multigrey-metrics(7)."""
