"""Ids, enums and errors that every room shares. Standard library only; no clock, no files."""
