"""What an administrator asks of a running daemon: operations, and the socket they are asked through."""
