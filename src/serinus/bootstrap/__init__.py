"""Settings, the edge (clock, chance) and one wiring module per process. Nothing here decides anything."""
