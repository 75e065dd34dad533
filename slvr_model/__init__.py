"""The learner: latents in Qwen2.5-VL and how they are trained."""
