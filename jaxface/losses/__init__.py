"""Losses: pure functions of arrays, one value per batch item. One subject per module."""
