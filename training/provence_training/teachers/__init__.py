"""Models whose judgement is learned from: rerankers, bi-encoders, Provence checkpoints and LLMs."""
