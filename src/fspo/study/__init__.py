"""The human study: people label pairs, the model personalises, and they judge it blind."""
