"""Voice tone of calls in progress, served."""
