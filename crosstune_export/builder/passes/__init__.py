"""Rewrites of the graph, one a file.

A pass is a function ``apply(model) -> int``: it changes the model in place and says how often it fired. Its docstring
states what it requires and what it ensures; a test runs it on the smallest graph with onnxruntime's own optimizations off.
"""
