"""Judging tables of predictions, and showing an analysed call to a reader."""
