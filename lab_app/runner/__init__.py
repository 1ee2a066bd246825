"""Run one answer: the zygote, the jail, and the client that asks it."""
