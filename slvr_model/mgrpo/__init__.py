"""Stage 2: reinforcement learning over several questions about one region (M-GRPO)."""
