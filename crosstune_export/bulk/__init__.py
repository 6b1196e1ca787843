"""Classify files of any size: sources → windows → decode → classify → encode → output, in constant memory."""
