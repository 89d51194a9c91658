"""The page of `arbstyle app`, as a Space."""

import os

from arbstyle import Stylizer
from arbstyle.app.page import serve

if __name__ == "__main__":
    serve(Stylizer.from_pretrained(os.environ.get("ARBSTYLE_MODEL") or None))
