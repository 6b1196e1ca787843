"""The command lines ``crosstune`` and ``crosstune-export``; installed as ``crosstune_cli``."""
