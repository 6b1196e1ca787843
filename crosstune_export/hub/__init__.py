"""Bundles as repositories of a model hub: ``pull`` and ``push`` by huggingface_hub, which is imported when they are called."""
