"""Assembly of a configuration, nurseries, reload, privileges, systemd."""
