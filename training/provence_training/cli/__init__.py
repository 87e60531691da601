"""Commands of `provence` that need the extra `train`. Importing them is cheap: --help should not wait."""
