"""The commands of the program: each turns its arguments into settings, and settings into a job."""
