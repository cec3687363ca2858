"""The counter's pages: HTML rendered on the server. They call the API's use cases and need no JavaScript."""
