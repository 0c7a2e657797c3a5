"""Decode, stack, fit, overlay: one copy for training and serving."""
