"""Where model and pipeline meet: settings, Prefect flows and the `r2h` command."""

import os

from pipeline.redact import hide_command_line

# Read when prefect is first imported. Its 20 s are too few for a loaded machine's embedded server.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

# Would have torch round float32 products to bfloat16, which a cube calls float32.
for _name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
    os.environ.pop(_name, None)

# Before anything that takes long to import: a command line is for every user of a machine to see.
hide_command_line()
