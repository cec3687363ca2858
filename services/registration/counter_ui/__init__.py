"""The pages of the counter: rendered here, working without JavaScript, on the use cases of the API."""
