"""Which of two answers a user prefers: measured, by a language model, by a reward model."""
