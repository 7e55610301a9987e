"""Operators of one study, one after the other: each starts when the one before was killed."""

from reconcile.operators import Operator
from reconcile.stage import Stage
from reconcile.wire import Interference, Killed


class Succession:
    """Operators, each of which starts when the one before was killed; only the first meets with trouble."""

    def __init__(self, stage: Stage, first: Interference, *, meanwhile: int = 0) -> None:
        self.operator = Operator(stage.cluster, interference=first)
        self._stage = stage
        self._meanwhile = meanwhile
        self._is_listed = False

    async def try_pass(self) -> float | None:
        """Do a pass; where the operator is killed in it, the nodes move on and the next operator starts."""
        try:
            if not self._is_listed:
                await self.operator.list_all()
                self._is_listed = True
            return await self.operator.try_pass()
        except Killed:
            for _ in range(self._meanwhile):
                self._stage.nodes.step()
            self.operator = await self._stage.operator()
            return 0.0
