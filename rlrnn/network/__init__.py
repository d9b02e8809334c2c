"""A recurrent network: sensors, memory over time, actuators; one of it or a population."""
