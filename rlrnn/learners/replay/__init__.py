"""What learners from replay share: what is kept of the play, and how it is played and drawn from."""
