"""Networks that place facial landmarks."""
