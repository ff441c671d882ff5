"""The commands of the program: each turns its words into settings, and settings into a job."""
