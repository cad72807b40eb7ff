"""Suggestive annotation played through on images whose annotations are known, against other strategies."""
