"""The referee: SV-QA, its statistics, and whether latents matter."""
