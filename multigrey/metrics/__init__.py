"""Figures for Prometheus, and checks of health, over HTTP; see multigrey-metrics(7)."""
