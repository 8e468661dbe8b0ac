"""A file server and a copy of provision.sh to run against it."""
