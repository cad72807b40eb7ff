"""Whole slides, segmented in bounded memory: tissue, tiles, probabilities on disk, objects stitched exactly, files."""
