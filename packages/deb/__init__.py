"""The packages for Debian and its relatives."""
