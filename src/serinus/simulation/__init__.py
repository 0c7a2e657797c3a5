"""Operating characteristics of a policy: thousands of simulated rollouts at once, beside rival rules."""
