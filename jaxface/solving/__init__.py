"""The compiled optimiser for many independent problems at once, and its continuous batching."""
