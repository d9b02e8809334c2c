"""The trials of a wave, by optuna: a function of the study's seed and of what earlier waves won."""

from __future__ import annotations

import json
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from rlrnn.errors import MissingExtraError
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.search.halving import Standing
from rlrnn.experiment.search.space import Parameter, Space, Values
from rlrnn.experiment.search.study import Study

if TYPE_CHECKING:
    import optuna


def the_optuna() -> Any:
    """The package, quiet; an error names the extra where it is missing."""
    try:
        import optuna
    except ImportError:
        raise MissingExtraError('a search needs an extra: pip install "rlrnn[search]".') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def draw(study: Study, space: Space, recipe: Recipe, wave: int, now: Standing) -> list[Values | None]:
    """The values of a wave's trials; trial 0 is the recipe as it is, which is None.

    By the tree-structured Parzen estimator (Bergstra et al. 2011), all settings together, with the trials of
    the wave itself taken for bad ones (a constant liar), so that they differ.
    """
    optuna = the_optuna()
    seed = int(np.random.SeedSequence((study.seed, wave)).generate_state(1)[0])
    if study.sampler == "random":
        sampler = optuna.samplers.RandomSampler(seed)
    else:
        with warnings.catch_warnings():  # of what optuna calls experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=study.first,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
    asked = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in trials(space, recipe, now):
        asked.add_trial(trial)
    count = min(study.wave, study.trials - len(now.values))
    drawn: list[Values | None] = []
    for number in range(len(now.values), len(now.values) + count):
        if number:
            drawn.append(_ask(asked, space, recipe))
            continue
        drawn.append(None)
        if (values := space.of_recipe(recipe)) is not None:  # so that the rest of the wave keeps away from it
            asked.enqueue_trial({key: _to_optuna(space.parameters[key], values[key]) for key in values})
            _ask(asked, space, recipe)
    return drawn


def trials(space: Space, recipe: Recipe, now: Standing) -> list[optuna.trial.FrozenTrial]:
    """The trials so far as optuna sees them: complete at the last rung, else pruned at the one they came to.

    A recipe that the space does not hold is left out: it is no draw.
    """
    optuna = the_optuna()
    found = []
    for number, drawn in enumerate(now.values):
        values = space.of_recipe(recipe) if drawn is None else drawn
        if values is None:
            continue
        reached = now.reached(number)
        scores = {} if reached is None else {rung: now.score(number, rung) for rung in range(reached + 1)}
        complete = reached == len(now.study.rungs) - 1
        states = optuna.trial.TrialState
        found.append(
            optuna.trial.create_trial(
                state=states.COMPLETE if complete else states.PRUNED,
                value=None if reached is None else scores[reached],
                params={key: _to_optuna(space.parameters[key], value) for key, value in values.items()},
                distributions={key: _distribution(space.parameters[key]) for key in values},
                intermediate_values=scores,
                user_attrs={"trial": number},
            )
        )
    return found


def importances(space: Space, recipe: Recipe, now: Standing) -> dict[str, float]:
    """How much of what was won at the first rung, where all trials were compared, each setting decides.

    Shares of the variance among the better trials, by optuna's default (PED-ANOVA, Watanabe et al. 2023);
    empty where there are too few trials to tell.
    """
    optuna = the_optuna()
    states = optuna.trial.TrialState
    study = optuna.create_study(direction="maximize")
    for trial in trials(space, recipe, now):
        if (score := trial.intermediate_values.get(0)) is not None:
            params, distributions = trial.params, trial.distributions
            study.add_trial(
                optuna.trial.create_trial(
                    state=states.COMPLETE, value=score, params=params, distributions=distributions
                )
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return dict(optuna.importance.get_param_importances(study))
        except (ValueError, RuntimeError):  # fewer than two trials, or all of them alike
            return {}


def _ask(study: optuna.Study, space: Space, recipe: Recipe) -> Values:
    trial, values = study.ask(), dict[str, Any]()
    for key in space.order():
        if space.active(key, values, recipe):
            values[key] = _suggest(trial, key, space.parameters[key])
    return values


def _suggest(trial: optuna.Trial, key: str, parameter: Parameter) -> Any:
    if parameter.among:
        label = trial.suggest_categorical(key, [_label(value) for value in parameter.among])
        return next(value for value in parameter.among if _label(value) == label)
    if parameter.power is not None:
        return parameter.power ** trial.suggest_int(key, *_exponents(parameter))
    suggest = trial.suggest_int if parameter.whole else trial.suggest_float
    return suggest(key, parameter.low, parameter.high, log=parameter.log)


def _distribution(parameter: Parameter) -> Any:
    """As ``_suggest`` draws."""
    d = the_optuna().distributions
    if parameter.among:
        return d.CategoricalDistribution([_label(value) for value in parameter.among])
    if parameter.power is not None:
        return d.IntDistribution(*_exponents(parameter))
    kind = d.IntDistribution if parameter.whole else d.FloatDistribution
    return kind(parameter.low, parameter.high, log=parameter.log)


def _exponents(parameter: Parameter) -> tuple[int, int]:
    assert parameter.power is not None
    return round(math.log(parameter.low, parameter.power)), round(math.log(parameter.high, parameter.power))


def _label(value: Any) -> Any:
    """Optuna takes plain values alone."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _to_optuna(parameter: Parameter, value: Any) -> Any:
    if parameter.among:
        return _label(value)
    return round(math.log(value, parameter.power)) if parameter.power is not None else value
