"""Where kopf lives: handlers that pass on what the watches tell, and the settings of the framework."""
