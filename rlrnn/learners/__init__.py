"""Learning from reward, from fitness and from targets."""
