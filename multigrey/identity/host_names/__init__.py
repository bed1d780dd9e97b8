"""What the name of a host says: made by a machine, of a kind, and whether it stands for one sender."""
