"""The loss, the collator and the trainer."""
