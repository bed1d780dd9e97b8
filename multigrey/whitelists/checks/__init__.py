"""What can be said of whitelist entries without mail: what is doubtful, superfluous or out of date."""
