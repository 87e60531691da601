"""QA evaluation: the answers of an LLM with whole, reranked and pruned passages."""
