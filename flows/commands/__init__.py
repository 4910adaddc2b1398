"""The commands of `r2h`, a file a subject; `flows.cli` puts them together."""
