"""The commands of ``python -m tensorlift``, and what they print."""
