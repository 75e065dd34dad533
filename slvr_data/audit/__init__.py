"""Auditing a published set by eye: which regions are drawn, what of them is judged, and what the verdicts say."""
