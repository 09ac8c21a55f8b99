"""Bytes: framing and JSON, without any knowledge of a vendor. Floor 0. Pure."""
