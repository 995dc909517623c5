"""The public evaluator's protocol worked out with NumPy alone, in float64 and by plain definitions: from
tokens and label maps to the mean IoU, for the tests of cribo/evaluation.h to be held against. Nothing here
is taken from its code.

    memory    labels 255 are class 0; patch p has the shares h_p of the classes of its pixels; bounded: of
              each image and pass the K = bound // (images passes) patches with the smallest u_p sum of f_c
              over the classes in p
    vote      softmax over the 30 greatest cosines / 0.02, of their h
    map       shares interpolated bilinearly between the patches' middles; the first greatest
    score     intersections over unions, assigned one to one for the greatest sum, their mean over all
              classes
"""

import functools

import numpy as np

NEIGHBOURS, TEMPERATURE = 30, 0.02


def patches(labels, side):
    """[images, side * side, pixels of a patch]"""
    images, height, width = labels.shape
    cut = labels.reshape(images, side, height // side, side, width // side)
    return cut.transpose(0, 1, 3, 2, 4).reshape(images, side * side, -1)


def shares(labels, side, classes):
    return np.stack([(patches(labels, side) == c).mean(-1) for c in range(classes)], -1)


def unit(x):
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def rare(labels, side, classes, draws, count):
    """The patches of each image with the smallest scores, [images, count]."""
    occurs = shares(labels, side, classes) > 0
    score = (occurs * occurs.sum(1, keepdims=True)).sum(-1) * draws.astype(np.float64)
    return score.argsort(1, kind="stable")[:, :count]


def remember(tokens, labels, classes, draws=None, bound=None):
    """Unit features and shares of the memory, from [passes * images, N, D] and label maps."""
    side = int(tokens.shape[1] ** 0.5)
    h = shares(np.where(labels == 255, 0, labels), side, classes)
    if bound is None:
        return unit(tokens).reshape(-1, tokens.shape[2]), h.reshape(-1, classes)
    kept = rare(np.where(labels == 255, 0, labels), side, classes, draws, max(1, bound // len(tokens)))[
        ..., None
    ]
    return (
        np.take_along_axis(unit(tokens), kept, 1).reshape(-1, tokens.shape[2]),
        np.take_along_axis(h, kept, 1).reshape(-1, classes),
    )


def enlarge(cells, pixels):
    place = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    low = place.astype(int)
    matrix = np.zeros((pixels, cells))
    matrix[np.arange(pixels), low] += 1 - (place - low)
    matrix[np.arange(pixels), np.minimum(low + 1, cells - 1)] += place - low
    return matrix


def predict(memory, memory_shares, tokens, pixels):
    side = int(tokens.shape[1] ** 0.5)
    cosine = unit(tokens).reshape(-1, tokens.shape[2]) @ memory.T
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
    near = np.take_along_axis(cosine, nearest, 1) / TEMPERATURE
    weight = np.exp(near - near[:, :1])
    weight /= weight.sum(1, keepdims=True)
    vote = np.einsum("qk,qkc->qc", weight, memory_shares[nearest])
    grow = enlarge(side, pixels)
    maps = np.einsum("yi,xj,bijc->byxc", grow, grow, vote.reshape(len(tokens), side, side, -1))
    return maps.argmax(-1)


def best_assignment(score):
    """The greatest sum of a one-to-one assignment, by going through the rows that have anything to gain."""
    rows = [tuple(row) for row in score if row.any()]
    useful = [c for c in range(score.shape[1]) if score[:, c].any()]

    @functools.cache
    def best(row, taken):
        if row == len(rows):
            return 0.0
        total = best(row + 1, taken)  # this row gets a column without a gain
        for place, column in enumerate(useful):
            if not taken >> place & 1 and rows[row][column] > 0:
                total = max(total, rows[row][column] + best(row + 1, taken | 1 << place))
        return total

    return best(0, 0)


def mean_iou(truth, predicted, classes, ignore):
    counts = (truth != ignore) & (truth < classes)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (truth[counts], predicted[counts]), 1)
    union = confusion.sum(1, keepdims=True) + confusion.sum(0, keepdims=True) - confusion
    return (
        best_assignment(np.divide(confusion, union, out=np.zeros_like(confusion), where=union > 0)) / classes
    )
