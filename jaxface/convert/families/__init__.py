"""One module for each family of published checkpoints: its name map, layout and settings."""
