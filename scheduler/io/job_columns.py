"""Gathering jobs one by one into sorted columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from scheduler.core.errors import nearest_name
from scheduler.core.workload import IntArray, Jobs

NAN = math.nan


class JobColumns:
    """Jobs in the order of their file, later sorted by release.

    Parameters
    ----------
    tenants : iterable of str
        Tenants that exist already; others are added as they come.

    Attributes
    ----------
    ids : list of str
        Jobs in the order of their addition.
    arrays : dict of str to tuple of str
        Names that stand for several jobs where a job says whom it needs.
    """

    def __init__(self, tenants: Iterable[str] = ()) -> None:
        self.ids: list[str] = []
        self._tenant_index = {t: i for i, t in enumerate(dict.fromkeys(tenants))}
        self._rows: list[tuple[float, ...]] = []
        self._after: dict[int, tuple[str, ...]] = {}
        self.arrays: dict[str, tuple[str, ...]] = {}
        self._array_of: dict[int, int] = {}
        self._array_most: list[int] = []

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
        priority: int = 0,
        limit_s: float = NAN,
        after: tuple[str, ...] = (),
    ) -> None:
        """Append one job; the values are taken as checked, `after` is looked up at the end."""
        if after:
            self._after[len(self.ids)] = after
        self.ids.append(job)
        self._rows.append(
            (class_index, release_s, work, estimate_s, weight, deadline_s,
             self.tenant(tenant), priority, limit_s)
        )  # fmt: skip

    def limit_array(self, jobs: Iterable[int], most: int) -> None:
        """Let at most `most` of the jobs at these positions run at once."""
        self._array_of |= dict.fromkeys(jobs, len(self._array_most))
        self._array_most.append(most)

    def tenant(self, name: str) -> int:
        """Return the position of a tenant, who need not have a job."""
        return self._tenant_index.setdefault(name, len(self._tenant_index))

    def extend(self, jobs: Jobs, tenants: tuple[str, ...], classes: IntArray) -> None:
        """Append the jobs of another workload whose class ``i`` is ``classes[i]`` here."""
        first = len(self.ids)
        for array, most in enumerate(jobs.array_most):
            members = np.flatnonzero(jobs.array_index == array)
            self.limit_array((first + members).tolist(), most)
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
                priority=int(jobs.priority[i]),
                limit_s=float(jobs.limit_s[i]),
                after=tuple(jobs.ids[k] for k in jobs.after[i]) if jobs.after else (),
            )

    def faulty_needs(self) -> list[tuple[str, str, str, str]]:
        """Return (job, message, value, nearest name) of every `after` that cannot be met."""
        position = {job: i for i, job in enumerate(self.ids)}
        faults = []
        for row, names in self._after.items():
            for name in names:
                if name not in position and name not in self.arrays:
                    near = nearest_name(name, (*self.arrays, *self.ids))
                    faults.append((self.ids[row], "needs an unknown job", name, near))
        if not faults:
            stuck = self._circular(self._needs(position))
            faults += [(self.ids[row], "needs itself, in a circle", "", "") for row in stuck]
        return faults

    def _needs(self, position: Mapping[str, int]) -> dict[int, tuple[int, ...]]:
        """Return, by row, the rows it needs; the name of an array stands for all its jobs."""
        found = {}
        for row, names in self._after.items():
            jobs = [job for name in names for job in self.arrays.get(name, (name,))]
            found[row] = tuple(sorted({position[job] for job in jobs if job in position}))
        return found

    @staticmethod
    def _circular(needs: Mapping[int, tuple[int, ...]]) -> list[int]:
        """Return the rows that wait for one another for ever."""
        left = {row: set(needed) & set(needs) for row, needed in needs.items()}
        ready = [row for row, needed in left.items() if not needed]
        users: dict[int, list[int]] = {}
        for row, needed in left.items():
            for other in needed:
                users.setdefault(other, []).append(row)
        while ready:
            done = ready.pop()
            del left[done]
            for row in users.get(done, ()):
                left[row].discard(done)
                if not left[row]:
                    ready.append(row)
        return sorted(left)

    def jobs(self, classes: Mapping[int, int] | None = None, *, from_first: bool = False) -> Jobs:
        """Return the jobs sorted by (release, order of addition).

        Parameters
        ----------
        classes : mapping of int to int, optional
            Final position of each class index that was added; by default the same.
        from_first : bool
            Whether times count from the first release instead of from zero.
        """
        rows = np.array(self._rows, dtype=np.float64).reshape(len(self._rows), 9)
        after: tuple[tuple[int, ...], ...] = ()
        if self._after:
            needs = self._needs({job: i for i, job in enumerate(self.ids)})
            after = tuple(needs.get(row, ()) for row in range(len(self.ids)))
        array_index = np.zeros(0, dtype=np.int64)
        if self._array_of:
            rows_of = (self._array_of.get(row, -1) for row in range(len(self.ids)))
            array_index = np.fromiter(rows_of, dtype=np.int64)
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
            priority=rows[:, 7].astype(np.int64),
            limit_s=rows[:, 8].copy(),
            after=after,
            array_index=array_index,
            array_most=tuple(self._array_most),
        )
        return jobs.take(np.argsort(jobs.release_s, kind="stable"))
