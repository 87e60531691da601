"""Backends: token ids in, logits out."""
