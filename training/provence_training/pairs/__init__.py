"""Questions with passages as numbers: from a corpus to the batches that a model learns from.

`packing` turns a corpus into flat arrays once (`pack`), `drawing` decides which question meets which window
of which passage (`pair_set`), `batches` which of these meet in a batch, and `assembly` puts their token ids
together on the device.
"""
