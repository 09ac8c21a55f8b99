"""The outside world: who we send requests to. Floor 2."""
