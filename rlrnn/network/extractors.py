"""Feature extractors by name: SB3's, ours, and those that a user registers."""

from __future__ import annotations

import inspect

from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN

from rlrnn.common.settings import check_registered, register
from rlrnn.errors import UserError
from rlrnn.network.convolutions import SmallCNN
from rlrnn.storage import encoding

EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {"nature": NatureCNN, "small": SmallCNN}


def register_extractor(name: str, extractor: type[BaseFeaturesExtractor]) -> None:
    """Make a feature extractor known by name to recipes, ``extractor = "mine"``, and to saved agents.

    Its constructor takes ``(observation_space, **options)``, as SB3's do, and calls that of
    ``BaseFeaturesExtractor`` with the number of features. Registering the same class twice is harmless;
    another class under a name that is taken is a ``UserError``.
    """
    if not (isinstance(extractor, type) and issubclass(extractor, BaseFeaturesExtractor)):
        raise UserError(
            f"{extractor!r} is no feature extractor: register a class derived from SB3's "
            "BaseFeaturesExtractor."
        )
    try:
        inspect.signature(extractor).bind_partial(None)
    except TypeError:
        raise UserError(
            f"the constructor of {extractor.__name__} takes {inspect.signature(extractor)}: that of an "
            "extractor takes (observation_space, **options)."
        ) from None
    register("extractor", name, extractor, EXTRACTORS)
    encoding.register_class(name, extractor)


def extractor_named(name: str) -> type[BaseFeaturesExtractor]:
    """The extractor of that name."""
    check_registered("extractor", name, EXTRACTORS)
    return EXTRACTORS[name]
