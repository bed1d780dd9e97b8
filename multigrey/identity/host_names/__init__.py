"""Evaluates host names: whether a name is generated, its pattern, and whether it stands for one sender."""
