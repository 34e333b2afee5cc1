"""Inversion of whole collections: inputs, batches, results that survive a crash."""
