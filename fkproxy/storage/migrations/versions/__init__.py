"""One file per level. Floor 2."""
