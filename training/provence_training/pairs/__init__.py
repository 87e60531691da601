"""Questions paired with passages, as numbers: from a corpus to the batches that a model learns from.

`packing` turns a corpus into flat arrays once (`pack`), `drawing` pairs questions with windows of
passages (`pair_set`), `sampler` decides which pairs are in a batch, and `assembly` puts their token
ids together on the device, with the `targets` of the loss.
"""
