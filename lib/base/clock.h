/* Time for reports: milliseconds of a monotonic clock. */
#ifndef CB_BASE_CLOCK_H
#define CB_BASE_CLOCK_H

double cb_clock_ms(void);

#endif
