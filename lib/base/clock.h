/* Time for reports: milliseconds of a clock that never goes back. */
#ifndef CB_BASE_CLOCK_H
#define CB_BASE_CLOCK_H

double cb_clock_ms(void);

#endif
