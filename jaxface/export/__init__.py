"""Programs of a suite that run where jaxface is not installed."""
