"""Devices, processes, files and signals: what every long computation needs, whatever it
computes."""
