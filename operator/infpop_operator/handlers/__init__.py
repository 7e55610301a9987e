"""The only package that imports kopf: handlers that pass on watch events, and the settings of the framework."""
