"""The devices of the engine's container, as Kubernetes takes them."""

from infpop_operator.api.serving_values import ServingValues


def gpu_resources(values: ServingValues) -> dict[str, object]:
    """Return the fields of a container that reserve the GPUs; empty if the result was measured on CPUs.

    Requests are there too: a limit that is merged over another container's resources would differ from its request.
    """
    if values.gpu_resource == "cpu":
        return {}
    amount = {values.gpu_resource: str(values.gpu_count)}
    return {"resources": {"limits": amount, "requests": amount}}
