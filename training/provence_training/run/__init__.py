"""A whole training run: from a configuration to a released checkpoint."""
