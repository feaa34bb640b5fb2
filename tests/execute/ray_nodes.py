"""Hosts a Ray cluster of several nodes on this machine until its standard input ends.

Prints the cluster's address, then kills a node for each number that it reads, and repeats the
number when nothing is left of that node. A node's workers find its number in their environment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

SIZE = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}


def main() -> None:
    cluster = Cluster()
    nodes = [
        cluster.add_node(**SIZE, env_vars={"FLEETFIT_TEST_NODE": str(number)})
        for number in range(int(sys.argv[1]))
    ]
    print(json.dumps(cluster.address), flush=True)
    for line in sys.stdin:
        kill(cluster, nodes[int(line)])
        print(int(line), flush=True)
    cluster.shutdown()


def kill(cluster: Cluster, node: Any) -> None:
    """Kill a node, as if its machine had lost power.

    Ray kills what it has started for the node, but not that node's workers. They end when they
    miss it, and until then may finish a task and hand in its result.
    """
    raylet = node.all_processes["raylet"][0].process.pid
    os.kill(raylet, signal.SIGSTOP)  # it must not see them die, nor start others
    for process in descendants(raylet):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


def descendants(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(process, []))
    for one in found:
        found += children.get(one, [])
    return found


if __name__ == "__main__":
    main()
