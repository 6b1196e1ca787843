"""Names of repositories on a model hub."""

from __future__ import annotations

import re

#: ``owner/name``, in which no rule of YAML, of addresses or of file systems finds anything special.
HUB_ID = re.compile(r"(?!.*(?:\.\.|--))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
