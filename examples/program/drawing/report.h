/* A page about a run, from the files in its folder. */
#ifndef REPORT_H
#define REPORT_H

#include "base/problem.h"

/*
 * Writes one self-contained HTML file: curves of log.jsonl, results of evaluation.jsonl, the pictures of
 * clusters. Parts whose files are missing are left out; without a log no page is written.
 */
bool report_write(const char *run, const char *out, struct problem *problem);

#endif
