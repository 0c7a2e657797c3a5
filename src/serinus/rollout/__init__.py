"""Rollouts as pure values: events, the state they fold to, one transition table, and `decide`."""
