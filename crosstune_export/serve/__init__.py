"""The HTTP server of a bundle: needs the extra ``[serve]`` beside the runtime."""
