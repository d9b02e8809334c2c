"""Scripted players of our games: the ceilings that their points are measured by."""

from rlrnn.common.modules import modules_of

__getattr__ = modules_of(__name__)
