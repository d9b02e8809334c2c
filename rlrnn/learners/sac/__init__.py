"""The learner from replay by an actor and critics of its actions."""
