"""One module a command: ``add_parser`` declares it, ``execute`` runs it."""
