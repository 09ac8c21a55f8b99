"""Records, metrics and logs. Floor 2."""
