"""From text to sentence scores and pruned text, in plain Python and numpy."""
