"""The jobs' own side: the batch each trains with, and what is believed of its speed."""

from __future__ import annotations

import numpy as np

from scheduler.core.adaptive import Shape
from scheduler.core.workload import FloatArray
from scheduler.physics.adaptive_tables import Tables
from scheduler.physics.goodput import Batches, Rates, gain
from scheduler.physics.learned_steps import LearnedSteps
from scheduler.policies.adaptive.view import JobState


class KnownAgents:
    """Jobs whose speed is known everywhere; each epoch trains with its best batch."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._believed: dict[int, FloatArray] = {}

    def rates(self, state: JobState, group: int, shape: Shape) -> Rates:
        """Return the rates with the best batch of each epoch."""
        return self._tables.goodput[state.application][group].best(shape)

    def goodputs(self, state: JobState) -> FloatArray:
        """Return the truth."""
        found = self._believed.get(state.application)
        if found is None:
            found = self._tables.best_goodputs(state.application)
            self._believed[state.application] = found
        return found

    def observe(self, state: JobState) -> None:
        """There is nothing to learn."""


class RigidAgents:
    """Jobs that train with the batch they were submitted with."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def rates(self, state: JobState, group: int, shape: Shape) -> Rates:
        """Return the rates of the submitted batch."""
        batch = self._tables.problem.jobs[state.job].batch
        return self._tables.goodput[state.application][group].fixed(shape, batch)

    def goodputs(self, state: JobState) -> FloatArray:
        """Return the truth at the submitted batch."""
        rows = [
            self.rates(state, group, shape).goodput for (group, _), shape in self._tables.configs
        ]
        return np.array(rows)

    def observe(self, state: JobState) -> None:
        """There is nothing to learn."""


class LearningAgents:
    """Jobs that know one accelerator of each type and learn gangs by running on them.

    Parameters
    ----------
    tables : Tables
        The truth, of which only what is run on is revealed.
    shared : bool
        Whether jobs of one application share what they learn.
    capped : bool
        Whether beliefs, but not the batch trained with, stop at the batch submitted. Sia's
        simulator does so.
    """

    def __init__(self, tables: Tables, *, shared: bool, capped: bool = False) -> None:
        self._tables = tables
        self._shared = shared
        self._capped = capped
        self._models: dict[int, LearnedSteps] = {}
        self._batches: dict[tuple[int, int], tuple[Batches, FloatArray]] = {}
        self._believed: dict[tuple[int, int], tuple[int, FloatArray]] = {}
        self._chosen: dict[tuple[int, int, int, Shape], Rates] = {}

    def rates(self, state: JobState, group: int, shape: Shape) -> Rates:
        """Return the true rates with the batches that look best."""
        model, key = self._model(state)
        found = self._chosen.get((key, model.version, group, shape))
        if found is None:
            table = self._tables.goodput[state.application][group]
            batches = table.candidates(shape)
            seconds = model.seconds(group, shape, batches)
            found = table.chosen(shape, seconds, batches)
            self._chosen[key, model.version, group, shape] = found
        return found

    def goodputs(self, state: JobState) -> FloatArray:
        """Return what the model believes."""
        model, key = self._model(state)
        cap = self._tables.problem.jobs[state.job].batch if self._capped else 0
        version, found = self._believed.get((key, cap), (-1, np.zeros((0, 0))))
        if version != model.version:
            rows = []
            for c, ((group, _), shape) in enumerate(self._tables.configs):
                batches, gains = self._candidates(state.application, c)
                goodput = gains / model.seconds(group, shape, batches)
                few = max(int((batches.asked <= cap).sum()), 1) if cap else len(batches.asked)
                rows.append(goodput[:, :few].max(axis=1))
            found = np.array(rows) / self._tables.problem.applications[state.application].slowdown
            self._believed[key, cap] = model.version, found
        return found

    def observe(self, state: JobState) -> None:
        """Measure a step of the round just run."""
        if state.config is None:
            return
        group = state.config[0]
        model, _ = self._model(state)
        table = self._tables.goodput[state.application][group]
        batch = int(self.rates(state, group, state.shape).batch[state.epoch])
        batches = table.split(state.shape, np.array([batch]))
        seconds, sync = table.seconds(state.shape, batches)
        once = (float(seconds[0]) + int(batches.accumulation[0]) * float(sync[0])) / (
            int(batches.accumulation[0]) + 1
        )
        model.observe(group, state.shape, int(batches.local[0]), once, float(sync[0]))

    def _candidates(self, application: int, config: int) -> tuple[Batches, FloatArray]:
        found = self._batches.get((application, config))
        if found is None:
            (group, _), shape = self._tables.configs[config]
            batches = self._tables.goodput[application][group].candidates(shape)
            found = batches, gain(self._tables.problem.applications[application], batches.real)
            self._batches[application, config] = found
        return found

    def _model(self, state: JobState) -> tuple[LearnedSteps, int]:
        key = state.application if self._shared else state.job
        model = self._models.get(key)
        if model is None:
            tables = self._tables.goodput[state.application]
            model = self._models[key] = LearnedSteps([t.rows((1,)) for t in tables])
        return model, key
