"""Trainings from beginning to end: which stages, with which settings."""
