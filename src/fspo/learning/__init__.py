"""From an episode to its tree, its log-probs, an objective, and a trained model."""
