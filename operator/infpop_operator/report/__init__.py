"""What the user sees of a study: pure functions that turn the core's values into rich renderables."""
