"""Faces over time: found, told apart, followed through cuts and gaps, smoothed, put back."""
