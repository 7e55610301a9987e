"""What a person sees of a study: pure functions from the core's values to rich renderables."""
