"""The parts that endpoints of every transport share."""
