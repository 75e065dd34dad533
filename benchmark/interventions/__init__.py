"""Do the latents matter? The same queries with latents replaced, and what the latents themselves are like."""
