"""Configuration: TOML into checked, immutable settings, and back into text with origins.

`types` reads single values, `settings` says which keys there are, `locate` finds the line of a key,
`defaults` knows where things lie when nobody says, `load` puts them together and collects every
problem, `show` writes settings down again.
"""
