"""The HTTP server of a bundle. It needs the extra ``[serve]`` in addition to the runtime."""
