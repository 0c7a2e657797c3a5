"""Answering requests: routing, residency (what is loaded), worker processes, the replica's loop."""
