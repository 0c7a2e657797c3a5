"""The command line: one thin subcommand per thing a user does; each imports what it needs when it runs."""

from serinus.cli.app import main

__all__ = ["main"]
