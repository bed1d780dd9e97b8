"""Plugins: finds, guards and registers them, and holds the built-in plugin."""
