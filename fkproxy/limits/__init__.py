"""Policies that say when and how often. Floor 1. Pure: the time is an argument."""
