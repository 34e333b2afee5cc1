"""Data: the embedded world's data set (`synthetic_portraits`) and pipelines over any (`pipelines`).

Nothing is imported here: TFDS, array_record and Grain are loaded by the module that needs them.
"""
