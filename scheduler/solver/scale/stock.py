"""What is left of a fleet while sizes are cut from it, by how many nodes and pods are alike.

Cuts are kept as counts: so many pods with that many whole nodes left lost a gang of that size,
so many nodes with that much left lost a slot. Any counts that start from what there is can be
carried out on real nodes (`placing`). Whole nodes that slots use are not tied to pods until
then: what gangs leave of any pod serves.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.scale.rows import SizeTable
from scheduler.solver.scale.supply_rows import Step

Cuts = dict[tuple[int, int, int], int]
"""(type, left before, size) to how often."""


class Stock:
    """Counts of nodes and pods by what is left of them.

    Attributes
    ----------
    gang_cuts, slot_cuts : dict
        What has been cut. A slot cut at the node size takes a whole node.
    """

    def __init__(self, table: SizeTable) -> None:
        self.table = table
        self.sizes = [*table.slots, *table.gangs]
        self.nodes: list[list[int]] = table.nodes.tolist()
        self.pods: list[list[int]] = table.pods.tolist()
        self.size: list[int] = table.node_size.tolist()
        self.whole: list[int] = (table.pods @ np.arange(table.pods.shape[1])).tolist()
        self.gang_cuts: Cuts = {}
        self.slot_cuts: Cuts = {}

    def repeat(self, step: Step, count: int) -> None:
        """Cut as a step of the supply rows says, `count` times."""
        t, left, size = step.type_index, step.left, self.sizes[step.column]
        if step.column >= len(self.table.slots):
            self._cut(self.gang_cuts, (t, left, size), count)
            self.pods[t][left] -= count
            self.pods[t][left - size] += count
            self.whole[t] -= count * size
            return
        self._cut(self.slot_cuts, (t, left, size), count)
        if left == self.size[t]:
            self.whole[t] -= count
        else:
            self.nodes[t][left] -= count
        self.nodes[t][left - size] += count

    def take(self, t: int, column: int, count: int) -> int:
        """Cut a size up to `count` times, each from the least that will do; return how often."""
        size = self.sizes[column]
        if column >= len(self.table.slots):
            return self._take_gangs(t, size, count)
        return self._take_slots(t, size, count)

    def fits(self, t: int, column: int, slots: int) -> bool:
        """Return whether so many more of that size could be cut."""
        size = self.sizes[column]
        if column >= len(self.table.slots):
            return self.whole[t] >= size and any(self.pods[t][size:])
        if slots > 1:  # only gangs that span pods take several, and they take whole nodes
            return self.whole[t] >= slots
        return self.whole[t] > 0 or any(self.nodes[t][size : self.size[t]])

    def fitting(self, key_column: IntArray, key_slots: FloatArray) -> np.ndarray:
        """Return `fits` of each key."""
        columns = self.table.columns
        return np.array(
            [
                self.fits(c // columns, c % columns, int(n))
                for c, n in zip(key_column.tolist(), key_slots.tolist(), strict=True)
            ],
            dtype=bool,
        )

    def _take_gangs(self, t: int, size: int, count: int) -> int:
        pods = self.pods[t]
        wanted = count = min(count, self.whole[t] // size)
        for left in range(size, len(pods)):
            # what is left after a cut is less: cut it again while it will do
            now = left
            while wanted and now >= size and pods[now]:
                cut = min(wanted, pods[now])
                self._cut(self.gang_cuts, (t, now, size), cut)
                pods[now] -= cut
                pods[now - size] += cut
                wanted -= cut
                now -= size
        done = count - wanted
        self.whole[t] -= done * size
        return done

    def _take_slots(self, t: int, size: int, count: int) -> int:
        nodes, whole = self.nodes[t], self.size[t]
        wanted = count
        for left in range(size, whole):
            now = left
            while wanted and now >= size and nodes[now]:
                cut = min(wanted, nodes[now])
                self._cut(self.slot_cuts, (t, now, size), cut)
                nodes[now] -= cut
                nodes[now - size] += cut
                wanted -= cut
                now -= size
        while wanted and self.whole[t]:
            each = whole // size
            cut = min(-(-wanted // each), self.whole[t])
            self.whole[t] -= cut
            left = whole
            for _ in range(each):
                now_cut = min(cut, wanted)
                self._cut(self.slot_cuts, (t, left, size), now_cut)
                wanted -= now_cut
                if left < whole:
                    nodes[left] -= now_cut
                nodes[left - size] += now_cut
                left -= size
                if not wanted:
                    break
        return count - wanted

    def give_whole(self, t: int, count: int) -> None:
        """Return whole nodes that were cut as slots of the node size."""
        key = (t, self.size[t], self.size[t])
        self.slot_cuts[key] -= count
        self.nodes[t][0] -= count
        self.whole[t] += count

    @staticmethod
    def _cut(cuts: Cuts, key: tuple[int, int, int], count: int) -> None:
        if count:
            cuts[key] = cuts.get(key, 0) + count
