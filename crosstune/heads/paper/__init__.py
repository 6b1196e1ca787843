"""The head of the CrossTune paper."""
