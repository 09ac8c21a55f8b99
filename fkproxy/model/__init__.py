"""The hub: what every dialect is decoded into and encoded from. Floor 0: values only."""
