"""HTTP towards clients and operators. Floor 4."""
