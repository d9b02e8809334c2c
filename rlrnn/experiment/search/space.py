"""The space of a search: which settings of a recipe are drawn, and from what, in the recipe's own words."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from rlrnn.common.records import build, hint_of, is_whole, read_toml, to_mapping
from rlrnn.common.settings import is_number, unknown
from rlrnn.errors import UserError
from rlrnn.experiment.recipes import MEMORY_OPTIONS, Recipe

CELL, OPTIONS = "network.cell", "cell_options"
Values = Mapping[str, Any]  # what was drawn, by key; without those whose condition does not hold
SPACES = Path(__file__).with_name("spaces")  # of each learner, by its table


@dataclass(frozen=True)
class Parameter:
    """A setting that is drawn: between two numbers, or among values."""

    low: Any = None  # the least number
    high: Any = None  # the largest
    log: bool = False  # drawn evenly in its logarithm
    power: int | None = None  # powers of this number alone
    among: tuple[Any, ...] = ()  # the values to choose from, instead of numbers between two
    parts_of: tuple[str, ...] = ()  # the setting is the product of these, divided by what is drawn
    when: dict[str, Any] = field(default_factory=dict)  # drawn only where these settings are so

    @property
    def whole(self) -> bool:
        """Whether whole numbers are drawn."""
        return isinstance(self.low, int)

    def holds(self, value: Any) -> bool:
        """Whether it could draw a value."""
        if self.among:
            return value in self.among
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        if self.power is not None:
            return bool(self.power ** round(math.log(value, self.power)) == value)
        return not self.whole or value == int(value)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values at its ends, or all of them."""
        return self.among or (self.low, self.high)


@dataclass(frozen=True)
class Space:
    """The settings that are drawn, by dotted key of the recipe."""

    parameters: dict[str, Parameter]

    @classmethod
    def read(cls, table: Mapping[str, Any], recipe: Recipe, where: str) -> Space:
        """The space in a table; one that contradicts the recipe is refused."""
        if not table:
            raise UserError(f"{where}: [space] is empty: name the settings to search, by their dotted keys.")
        parameters = {}
        for key, entry in table.items():
            if not isinstance(entry, Mapping):
                raise UserError(
                    f"{where}: {key!r} in [space] is {entry!r}; it takes a table, such as "
                    '{ low = 1e-4, high = 1e-2, log = true } or { among = ["gru", "lstm"] }.'
                )
            parameters[key] = _typed(key, build(Parameter, entry, where, f"space.{key}."), where)
        space = cls(parameters)
        for key in parameters:
            space._check_condition(key, recipe, where)
        for key in parameters:
            space._check_values(key, recipe, where)
        return space

    @classmethod
    def default(cls, recipe: Recipe) -> Space:
        """The space of a recipe's learner (``spaces/*.toml``)."""
        path = SPACES / f"{recipe.table}.toml"
        return cls.read(read_toml(path), recipe, str(path))

    def active(self, key: str, values: Values, recipe: Recipe) -> bool:
        """Whether a setting is drawn, beside those that were."""
        for name, wanted in self.parameters[key].when.items():
            there = values.get(name, _MISSING if name in self.parameters else setting(recipe, name))
            if there not in (wanted if isinstance(wanted, list | tuple) else (wanted,)):
                return False
        return True

    def order(self) -> list[str]:
        """The keys, each after those on which it depends."""
        found: list[str] = []
        while len(found) < len(self.parameters):
            found += [
                key
                for key, parameter in self.parameters.items()
                if key not in found and not (parameter.when.keys() & self.parameters.keys()) - set(found)
            ]
        return found

    def apply(self, recipe: Recipe, values: Values, where: str = "the search") -> Recipe:
        """The recipe with the values that were drawn.

        A schedule keeps its shape: the number is its start, and its end is in proportion. Another cell leaves
        the options of the recipe's own behind.
        """
        table = to_mapping(recipe)
        table.pop("verified", None)
        cell = values.get(CELL, recipe.network.cell)
        if cell != recipe.network.cell:
            options = table["network"].get(OPTIONS, {})
            table["network"][OPTIONS] = {k: v for k, v in options.items() if k in MEMORY_OPTIONS}
        for key in sorted(values, key=lambda key: bool(self.parameters[key].parts_of)):
            _set(table, key, self._value(key, values[key], table, where))
        return build(Recipe, table, where)

    def of_recipe(self, recipe: Recipe) -> Values | None:
        """What would have to be drawn for the recipe as it is; None if that cannot be."""
        values: dict[str, Any] = {}
        for key in self.order():
            if not self.active(key, values, recipe):
                continue
            parameter, value = self.parameters[key], setting(recipe, key)
            if isinstance(value, Mapping) and value.keys() == {"start", "end"}:
                value = value["start"]
            if parameter.parts_of and is_number(value) and value:
                value = _product(to_mapping(recipe), parameter.parts_of, key, "") / value
                value = int(value) if value == int(value) else value
            if value is None or not parameter.holds(value):
                return None
            values[key] = value
        return values

    def _value(self, key: str, drawn: Any, table: Mapping[str, Any], where: str) -> Any:
        parts = self.parameters[key].parts_of
        if parts:
            whole = _product(table, parts, key, where)
            return max(1, int(whole // drawn))
        before = _get(table, key)
        if is_number(drawn) and isinstance(before, Mapping) and before.keys() == {"start", "end"}:
            start, end = before["start"], before["end"]
            return {"start": drawn, "end": drawn * (end / start) if start else end}
        return drawn

    def _check_condition(self, key: str, recipe: Recipe, where: str) -> None:
        """What it depends on is there, and nothing depends on itself."""
        for name in self.parameters[key].when:
            if name not in self.parameters and setting(recipe, name) is None:
                known = [*self.parameters, CELL]
                raise UserError(f"{where}: space.{key}.when: {unknown('setting', name, known)}")
            allowed = self.parameters[name].among if name in self.parameters else ()
            wanted = self.parameters[key].when[name]
            for value in wanted if isinstance(wanted, list | tuple) else (wanted,):
                if allowed and value not in allowed:
                    raise UserError(
                        f"{where}: space.{key}.when: {name} is never {value!r}, as it is drawn among "
                        f"{', '.join(map(repr, allowed))}."
                    )
        seen, waiting = set[str](), [key]
        while waiting:
            for name in self.parameters[waiting.pop()].when.keys() & self.parameters.keys():
                if name == key:
                    raise UserError(f"{where}: space.{key}.when leads back to {key}: leave one of them out.")
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)

    def _check_values(self, key: str, recipe: Recipe, where: str) -> None:
        """The recipe takes them, with what they depend on."""
        beside = {
            name: wanted[0] if isinstance(wanted, list | tuple) else wanted
            for name, wanted in self.parameters[key].when.items()
            if name in self.parameters
        }
        for value in self.parameters[key].ends:
            about = f"{where}: [space] {key} = {value!r}"
            try:
                self.apply(recipe, {**beside, key: value}, about)
            except UserError as error:
                if str(error).startswith(where):
                    raise
                raise UserError(f"{about}: {error}") from None


_MISSING = object()


def setting(recipe: Recipe, key: str) -> Any:
    """The value under a dotted key of a recipe; None where it has none."""
    return _get(to_mapping(recipe), key)


def _get(table: Any, key: str) -> Any:
    for part in key.split("."):
        table = table.get(part) if isinstance(table, Mapping) else None
    return table


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = table.get(parent)
        table[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        table = table[parent]
    table[last] = value


def _product(table: Mapping[str, Any], parts: tuple[str, ...], key: str, where: str) -> float:
    numbers = [_get(table, part) for part in parts]
    for part, number in zip(parts, numbers, strict=True):
        if not is_number(number):
            raise UserError(f"{where}: space.{key}.parts_of: {part!r} is no number of the recipe.")
    return float(math.prod(numbers))


def _typed(key: str, parameter: Parameter, where: str) -> Parameter:
    """The parameter with its numbers whole where the recipe's are; what contradicts itself is refused."""
    low, high, power = parameter.low, parameter.high, parameter.power
    name = f"{where}: space.{key}"
    if (low is None) != (high is None) or (low is None) != bool(parameter.among):
        raise UserError(f"{name} takes low and high, or else among.")
    if parameter.among:
        if parameter.log or power is not None:
            raise UserError(f"{name}: log and power are for numbers between low and high, not for among.")
        return parameter
    for end, number in (("low", low), ("high", high)):
        if not is_number(number):
            raise UserError(f"{name}: {end} is {number!r}, but must be a number.")
    if low >= high:
        raise UserError(f"{name}: low is {low:g}, but must be less than high, {high:g}.")
    if (parameter.log or power is not None) and low <= 0:
        raise UserError(f"{name}: low is {low:g}, but log and power take numbers above 0.")
    if power is not None:
        if power < 2:
            raise UserError(f"{name}: power is {power}, but must be a whole number of at least 2.")
        for end in (low, high):
            if power ** round(math.log(end, power)) != end:
                raise UserError(f"{name}: {end:g} is no power of {power}.")
    hint = hint_of(Recipe, key)
    takes_any = hint is Any or parameter.parts_of
    kind = (
        int if power is not None or (isinstance(low + high, int) if takes_any else _counts(hint)) else float
    )
    if kind is int and not (is_whole(low) and is_whole(high)):
        raise UserError(f"{name}: low is {low:g} and high {high:g}, but {key} takes whole numbers.")
    return replace(parameter, low=kind(low), high=kind(high))


def _counts(hint: Any) -> bool:
    """Whether an annotation is of whole numbers alone."""
    members = {
        get_args(member)[0] if get_origin(member) is Annotated else member for member in _members(hint)
    }
    return int in members and float not in members


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
