"""The learner from replay by values of actions."""
