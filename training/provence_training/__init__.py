"""Fine-tune a Provence model: data, collator, loss and trainer (extra `train`)."""
