"""Prints the resources of Ray's nodes as JSON: run by `dmlray doctor --ray` in a process that it can end."""

import json
import sys

from dmlray.cluster import node_resources, ray_cluster
from dmlray.errors import DmlrayError

if __name__ == "__main__":
    try:
        with ray_cluster(sys.argv[1] if len(sys.argv) > 1 else None):
            print(json.dumps(node_resources()))
    except DmlrayError as error:
        sys.exit(str(error))
