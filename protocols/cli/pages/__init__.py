"""Commands of pages that are served, and of what people decide on them."""

from . import decisions, serve

__all__ = ["decisions", "serve"]
