"""Serinus: computer-vision models from data set to production without fear."""

__version__ = "0.1.0"
