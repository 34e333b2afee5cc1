"""What a job reads: paths, manifests, data sets, and the portraits in them."""
