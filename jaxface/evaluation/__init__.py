"""What a suite reaches, measured against the embedded world's truth."""
