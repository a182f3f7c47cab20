"""From a tree of files to the desired state: loader, positions, variables, models. Opens no file but through its tree."""
