/*
 * Stands in for a compiler's omp.h where it has none: the blis.h of BLIS's OpenMP flavour includes it and
 * uses nothing of it.
 */
