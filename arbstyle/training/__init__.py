"""Training with Lightning: module, callbacks, loggers, checkpoints, data, command line.

Nothing is imported here: reading and exporting checkpoints (`training.checkpoint`) needs no Lightning.
"""
