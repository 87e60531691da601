"""The HTTP server on Ray Serve, with as many replicas as the load asks for.

pip install -e '.[server]' 'ray[serve]'
serve run examples.serving.ray_serve:app max_replicas=8 model=owner/name
"""

from pydantic import Field
from ray import serve

from provence_rag.server import ServerSettings, create_app


class Arguments(ServerSettings):
    """The settings of `ServerSettings` for each replica, and how many replicas there are."""

    threads: int = Field(default=1, ge=1, description="Threads of a replica, and the CPUs that Ray gives it.")
    min_replicas: int = Field(default=1, ge=1, description="Replicas when there is nothing to do.")
    max_replicas: int = Field(default=4, ge=1, description="Replicas at most.")
    target_requests: float = Field(default=2.0, gt=0, description="Requests at a time, for each replica.")


def app(arguments: Arguments) -> serve.Application:
    deployment = serve.deployment(
        name="Provence",
        autoscaling_config={
            "min_replicas": arguments.min_replicas,
            "max_replicas": arguments.max_replicas,
            "target_ongoing_requests": arguments.target_requests,
        },
        max_ongoing_requests=1000,  # what is too much, the server's own queue decides
        ray_actor_options={"num_cpus": arguments.threads},
        graceful_shutdown_timeout_s=arguments.timeout + 5,
    )
    # Each replica calls the function, and loads a model of its own.
    return deployment(serve.ingress(lambda: create_app(arguments))()).bind()
