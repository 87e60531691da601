"""Changes to a pretrained encoder: fewer layers, a smaller vocabulary, tokens for line breaks."""
