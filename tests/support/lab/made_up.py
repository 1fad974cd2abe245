"""Runs whose records were made up, so that what a study must find in them is known."""

from batchnorm.lab.judging._results import Results, TrialResult

CONFIG = {
    "task": "digits",
    "scale": "quick",
    "device": "cpu",
    "description": "made up",
    "chance": 0.1,
}
CHANCE = 0.1


def quick(study):
    """The quick plan of a study on its first task."""
    return study.plan(study.tasks[0], "quick")


def trained(study, plan, ends, fields=()):
    """A run whose trials reach ``ends(trial) = (step, accuracy)`` and were at chance before."""

    def evaluations(trial):
        at, accuracy = ends(trial)
        return tuple(
            {"step": step, "test_accuracy": accuracy if step >= at else CHANCE, **dict(fields)}
            for step in study.work.schedule(plan, trial)
        )

    return run(study, plan, evaluations)


def measured(study, plan, record):
    """A run whose trials measured ``record(trial)``."""
    return run(study, plan, lambda trial: ({"step": 0, **record(trial)},))


def run(study, plan, evaluations):
    trials = tuple(TrialResult(t, evaluations(t), None, CHANCE) for t in study.trials(plan))
    return Results(study, plan, CONFIG, {"torch": "made up"}, trials, (), (), 1.0)


def without(results, lost):
    """The same run with some trials not yet done."""
    kept = tuple(t for t in results.trials if not lost(t.trial))
    gone = tuple(t.trial for t in results.trials if lost(t.trial))
    return Results(
        results.study, results.plan, results.config, results.environment, kept, gone, (), 1.0
    )
