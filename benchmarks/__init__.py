"""How fast multigrey is beside postgrey, greylistd and a server that only echoes (see README.md)."""
