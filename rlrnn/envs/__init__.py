"""Any Gymnasium environment as a batch of copies behind SB3's VecEnv."""
