"""Stage 1: supervised training of latents and answers from a published SLV-Set, on the public `Trainer`."""
