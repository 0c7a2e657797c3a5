"""What a process sees of itself: counters that become evidence, Prometheus metrics, structured logs."""
