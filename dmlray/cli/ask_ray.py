"""Prints what Ray's nodes have, and what is wrong with them, as JSON: `dmlray doctor --ray` runs it and can end it."""

import json
import sys

from dmlray.cluster import node_resources, ray_cluster
from dmlray.cluster_survey import check_nodes
from dmlray.errors import DmlrayError

if __name__ == "__main__":
    try:
        with ray_cluster(sys.argv[1] if len(sys.argv) > 1 else None):
            problems: list[str] = []
            try:
                check_nodes([], [], problems.append)
            except DmlrayError as error:
                problems.append(str(error))
            print(json.dumps({"nodes": node_resources(), "problems": problems}))
    except DmlrayError as error:
        sys.exit(str(error))
