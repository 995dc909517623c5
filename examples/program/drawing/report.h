/* A page about a run, from the files in its folder. */
#ifndef REPORT_H
#define REPORT_H

#include "base/problem.h"

/*
 * Writes one file of HTML that needs no other: curves of log.jsonl, results of evaluation.jsonl, the pictures
 * of clusters. What is missing in the folder is missing on the page; without a log there is none.
 */
bool report_write(const char *run, const char *out, struct problem *problem);

#endif
