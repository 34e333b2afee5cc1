"""Networks and directions that move a latent code."""
