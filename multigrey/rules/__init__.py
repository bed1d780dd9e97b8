"""The administrator's rules and classes, made ready to be asked."""
