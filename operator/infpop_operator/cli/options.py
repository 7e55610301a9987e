"""Options that several commands have, with their help texts."""

from typing import Annotated

import typer

Wide = Annotated[
    bool, typer.Option("--wide", help="Print tables of results as wide as they need to be, not as the terminal is.")
]
StudyNamespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace of study/NAME. (default: the context's)", show_default=False),
]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.", show_default=False)]
Kubeconfig = Annotated[
    str | None, typer.Option(help="Path of a kubeconfig. (default: as for kubectl)", show_default=False)
]
