"""Networks that read face parameters from an image."""
