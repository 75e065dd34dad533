"""Calls of an OpenAI-compatible server: addressed by content, stored, steered, counted."""
