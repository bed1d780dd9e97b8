"""Whitelist sources of multigrey's own, and the tables they (and other sources) are made of."""

from multigrey.whitelists.postgrey import postgrey_clients, postgrey_recipients
from multigrey.whitelists.roles import role_addresses

__all__ = ["postgrey_clients", "postgrey_recipients", "role_addresses"]
