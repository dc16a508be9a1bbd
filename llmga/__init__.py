"""LLMGA: an assistant that makes and edits pictures by talking."""

__version__ = "0.1.0"
