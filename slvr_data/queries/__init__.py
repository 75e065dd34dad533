"""Questions about a region: facets, unique references, templates, distractors."""
