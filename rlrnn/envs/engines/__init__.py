"""What steps the copies: in this process, in workers, or by an environment's own vector form."""
