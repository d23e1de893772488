"""A Triton model repository of an exported model, and its client."""
