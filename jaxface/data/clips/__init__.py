"""Clips of a user's: recognised by their layout, listed in a manifest, read frame by frame."""
