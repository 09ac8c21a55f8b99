"""fkproxy: one gateway in front of every LLM API. Start reading at `gateway.py`."""

__all__ = ["__version__"]

__version__ = "0.1.0"
