"""The child of line-peer.mjs in Python: serves implementations {name: (operations, check)}."""

import sys
import time


def serve(implementations):
    for line in sys.stdin:
        command, *rest = line.rstrip("\n").split("\t")
        if command == "list":
            reply = implementations
        elif command == "time":
            op, name, calls = rest
            work = implementations[name][0][op]
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(int(calls)):
                work()
            reply = [time.perf_counter() - wall, time.process_time() - cpu]
        else:
            reply = implementations[rest[0]][1]()
        print(*reply, sep="\t", flush=True)
