"""Networks trained side by side that differ: their training, and what they say of a pool of images."""
