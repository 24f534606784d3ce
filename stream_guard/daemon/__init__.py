"""The daemon behind `stream-guard serve`: many streams and jobs, each in a process of its own."""
