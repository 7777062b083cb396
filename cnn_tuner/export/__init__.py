"""From the best model to files that others can serve, each proved by a reader in a new process."""
