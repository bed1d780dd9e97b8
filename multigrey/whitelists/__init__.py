"""The built-in whitelist sources, and the tables that these and other sources are built from."""

from multigrey.whitelists.postgrey import postgrey_clients, postgrey_recipients
from multigrey.whitelists.roles import role_addresses

__all__ = ["postgrey_clients", "postgrey_recipients", "role_addresses"]
