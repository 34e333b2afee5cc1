"""What a job writes: rows, files, shards, snapshots, contact sheets."""
