"""The operator's kopf handlers, which pass on watch events to the service, and the settings of the framework."""
