"""Audio in, tone over time out: files and live calls by the same code."""
