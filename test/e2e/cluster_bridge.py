"""Lets a test hold a cluster of the shared tools: each line of stdin asks for a call, each line of stdout answers. Ends with its stdin.

    cluster_bridge.py FOLDER        the folder of cluster.py
    {"call": "kubectl", "args": ["get", "nodes"], "named": {}}      a method of the cluster, or a function that takes the cluster
    {"value": ...} or {"error": "..."}
"""
import json, os, shutil, sys

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else prints
sys.path.insert(0, sys.argv[1])
import cluster

cluster.PATH = os.environ["PATH"]
cluster.INIT = cluster.INIT.replace("/usr/lib/cni", os.path.dirname(shutil.which("bridge", path=os.environ["CNI_PATH"])))


def answer(**what):
    print(json.dumps(what), file=answers, flush=True)


with cluster.Cluster() as c:
    answer(value=c.t0)
    for line in sys.stdin:
        ask = json.loads(line)
        name, args = ask["call"], ask["args"]
        try:
            if name == "on":
                args[0] = c.nodes[args[0]]
            method = getattr(c, name, None)
            value = method(*args, **ask["named"]) if method else getattr(cluster, name)(c, *args, **ask["named"])
            answer(value=value)
        except Exception as e:
            answer(error=str(e))
