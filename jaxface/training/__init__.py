"""The compiled trainer for shared weights: loop, checkpoints, reports, experiments."""
