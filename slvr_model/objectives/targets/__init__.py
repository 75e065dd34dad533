"""What slots are to match: one file per provider."""
