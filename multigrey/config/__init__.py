"""Configuration: reads TOML into checked, immutable settings, and writes settings back as text.

`values.types` reads single values.  `settings` and `tables` define the keys.  `locate` finds the line
of a key.  `defaults` holds the default paths and sockets.  `load` combines these and collects every
problem.  `show` writes settings as TOML or JSON, each value with where it came from.
"""
