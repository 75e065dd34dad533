"""Annotators: who writes a region's attribute profile."""
