"""The time of a training step on many nodes, by the model in docs/distributed.md.

python ranks_model.py                        a table for 8 ... 1024 nodes
python ranks_model.py --check RATE=SECONDS ...
    against steps of ViT-S/16 on 4 nodes that were measured at RATE Mbit/s; the first RATE is 0 (no limit)
"""

import argparse
import math

PIECE, BUCKET = 65536, 1 << 22
PROTOTYPES = 2 * 65536
OBJECTS = 32  # of an image, at most

# parameters; FLOP of a forward pass relative to ViT-S/16; width
NETWORKS = {"ViT-S/16": (60.9e6, 1.0, 384), "ViT-B/16": (125.8e6, 35.1 / 9.2, 768)}


def bytes_of_parameters(parameters, nodes):
    """Sent by a rank, of gradients; again as many of new parameters."""
    return (1 - 1 / nodes) * 4 * parameters


def other_bytes(width, nodes, images):
    """Sent by a rank: the other rows of the table "What the ranks exchange"."""
    objects, share = images * OBJECTS, 1 - 1 / nodes
    gathered = 2 * (images + objects) * width * 4
    neighbours = 2 * share * 34 * objects + share * 4 * width * 2 * objects / nodes
    return gathered + neighbours + 2 * 4 * PROTOTYPES


def buckets_of(parameters, nodes):
    return max(1, int(parameters // max(BUCKET, 4 * PIECE * nodes)))


def transfers(parameters, nodes):
    """Those that follow one another: three ways of each bucket, about 20 other exchanges; with notices."""
    return 2 * math.log2(nodes) * (3 * buckets_of(parameters, nodes) + 20)


def step(compute, backward, parameters, others, rate, latency):
    """Seconds; parameters and others in bytes, rate in bytes a second, latency of all transfers."""
    exposed = max(0, parameters / rate - backward)
    return compute + exposed + (parameters + others) / rate + latency


def print_table(arguments):
    print("network   nodes  images a node   1 Gbit/s          10 Gbit/s         100 Gbit/s")
    for name, (parameters, scale, width) in NETWORKS.items():
        for nodes in (8, 32, 128, 512, 1024):
            images = arguments.images / nodes
            compute = arguments.seconds * scale * images
            backward = arguments.backward * arguments.seconds * scale * min(arguments.micro_batch, images)
            if buckets_of(parameters, nodes) == 1:  # complete at the end of the backward pass only
                backward = 0
            sent = bytes_of_parameters(parameters, nodes), other_bytes(width, nodes, arguments.images)
            latency = arguments.latency * transfers(parameters, nodes)
            cells = []
            for gbit in (1, 10, 100):
                seconds = step(compute, backward, *sent, gbit * 1.25e8, latency)
                cells.append(f"{seconds:7.2f} s ({100 * compute / seconds:3.0f} %)")
            print(f"{name:9} {nodes:5d} {images:9.0f}      " + "  ".join(cells))


def print_check(arguments):
    measured = [tuple(map(float, point.split("="))) for point in arguments.check]
    free = measured[0][1]
    parameters, _, width = NETWORKS["ViT-S/16"]
    sent = bytes_of_parameters(parameters, 4), other_bytes(width, 4, arguments.images)
    for rate, seconds in measured[1:]:
        model = step(free, arguments.hidden, *sent, rate * 1.25e5, 0)
        print(
            f"{rate:6.0f} Mbit/s: {seconds:.2f} s, model {model:.2f} s ({100 * (model / seconds - 1):+.0f} %)"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.49, help="computation for an image, ViT-S/16")
    parser.add_argument("--backward", type=float, default=0.12, help="of it, hides transfers")
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--images", type=int, default=1024, help="of the whole batch")
    parser.add_argument("--latency", type=float, default=50e-6, help="seconds of a transfer")
    parser.add_argument("--check", nargs="+", metavar="RATE=SECONDS")
    parser.add_argument(
        "--hidden", type=float, default=0, help="seconds of transfers that are hidden, for --check"
    )
    arguments = parser.parse_args()
    print_check(arguments) if arguments.check else print_table(arguments)


if __name__ == "__main__":
    main()
