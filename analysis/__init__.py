"""What a trained model gets wrong, why, and what to do about it."""
