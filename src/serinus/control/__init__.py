"""Control: read, decide, append, then act. Verification, probes, decisions by hand, and the read models."""
