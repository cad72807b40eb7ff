"""Suggest, annotate, train: the rounds of a project."""
