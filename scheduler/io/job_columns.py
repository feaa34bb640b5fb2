"""Gathering jobs one by one into sorted columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from scheduler.core.workload import IntArray, Jobs

NAN = math.nan


class JobColumns:
    """Jobs in the order of their file, later sorted by release.

    Parameters
    ----------
    tenants : iterable of str
        Tenants that exist already; others are added as they come.
    """

    def __init__(self, tenants: Iterable[str] = ()) -> None:
        self.ids: list[str] = []
        self._tenant_index = {t: i for i, t in enumerate(dict.fromkeys(tenants))}
        self._rows: list[tuple[int, float, float, float, float, float, int]] = []

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tenants(self) -> tuple[str, ...]:
        """What `Jobs.tenant_index` points at."""
        return tuple(self._tenant_index) or ("default",)

    def add(
        self,
        job: str,
        class_index: int,
        release_s: float,
        work: float,
        *,
        estimate_s: float = NAN,
        weight: float = 1.0,
        deadline_s: float = NAN,
        tenant: str = "default",
    ) -> None:
        """Append one job; the values are taken as checked."""
        index = self._tenant_index.setdefault(tenant, len(self._tenant_index))
        self.ids.append(job)
        self._rows.append((class_index, release_s, work, estimate_s, weight, deadline_s, index))

    def extend(self, jobs: Jobs, tenants: tuple[str, ...], classes: IntArray) -> None:
        """Append the jobs of another workload whose class ``i`` is ``classes[i]`` here."""
        for i, job in enumerate(jobs.ids):
            self.add(
                job,
                int(classes[jobs.class_index[i]]),
                float(jobs.release_s[i]),
                float(jobs.work[i]),
                estimate_s=float(jobs.estimate_s[i]),
                weight=float(jobs.weight[i]),
                deadline_s=float(jobs.deadline_s[i]),
                tenant=tenants[int(jobs.tenant_index[i])],
            )

    def jobs(self, classes: Mapping[int, int] | None = None, *, from_first: bool = False) -> Jobs:
        """Return the jobs sorted by (release, order of addition).

        Parameters
        ----------
        classes : mapping of int to int, optional
            Final position of each class index that was added; by default the same.
        from_first : bool
            Whether times count from the first release instead of from zero.
        """
        rows = np.array(self._rows, dtype=np.float64).reshape(len(self._rows), 7)
        start = rows[:, 1].min() if from_first and len(rows) else 0.0
        index = rows[:, 0].astype(np.int64)
        if classes is not None:
            known, inverse = np.unique(index, return_inverse=True)
            index = np.array([classes[int(c)] for c in known], dtype=np.int64)[inverse]
        jobs = Jobs(
            ids=tuple(self.ids),
            class_index=index,
            release_s=rows[:, 1] - start,
            work=rows[:, 2].copy(),
            estimate_s=rows[:, 3].copy(),
            weight=rows[:, 4].copy(),
            deadline_s=rows[:, 5] - start,
            tenant_index=rows[:, 6].astype(np.int64),
        )
        return jobs.take(np.argsort(jobs.release_s, kind="stable"))
