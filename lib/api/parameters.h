/* Parameters by name or number, for every handle that has some. */
#ifndef CB_API_PARAMETERS_H
#define CB_API_PARAMETERS_H

#include "cribo/model.h"
#include "model/parameters.h"

/*
 * The parameter with that name; in the second call with `count` elements. `owner` ("the model") is for the
 * message.
 */
cribo_status cb_find_parameter(
    const cb_parameters *parameters, const char *owner, const char *name, const cb_parameter **found);
cribo_status cb_find_counted(const cb_parameters *parameters, const char *owner, const char *name,
    int64_t count, const cb_parameter **found);

/* Describes a parameter to the caller; the second by its number. */
cribo_status cb_export_parameter(const cb_parameter *from, cribo_parameter *parameter);
cribo_status cb_export_parameter_at(
    const cb_parameters *parameters, int64_t index, cribo_parameter *parameter);

#endif
