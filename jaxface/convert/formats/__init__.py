"""Readers of file formats, none of which executes anything that a file holds."""
