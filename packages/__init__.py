"""Packages of multigrey for systems."""
