/* Parameters by name or number. See parameters.h. */
#include "api/parameters.h"

#include "base/structs.h"

cribo_status cb_find_parameter(
    const cb_parameters *parameters, const char *owner, const char *name, const cb_parameter **found)
{
    CB_REQUIRE_POINTER(name);
    *found = cb_parameters_find(parameters, name);
    CB_REQUIRE(*found, "name = \"%s\" is no parameter of %s", name, owner);
    return CRIBO_OK;
}

cribo_status cb_find_counted(const cb_parameters *parameters, const char *owner, const char *name,
    int64_t count, const cb_parameter **found)
{
    CB_TRY(cb_find_parameter(parameters, owner, name, found));
    CB_REQUIRE(count == (int64_t)(*found)->count, "count = %lld, but %s has %zu elements", (long long)count,
        name, (*found)->count);
    return CRIBO_OK;
}

cribo_status cb_export_parameter(const cb_parameter *from, cribo_parameter *parameter)
{
    cribo_parameter full = {.name = from->name, .axes = (int64_t)from->axes, .count = (int64_t)from->count};
    CB_REQUIRE_POINTER(parameter);
    for (size_t i = 0; i < 4; i++) full.shape[i] = (int64_t)from->shape[i];
    CB_TRY(cb_check_size("parameter", parameter->struct_size, CB_SIZE_THROUGH(full, count), sizeof full));
    cb_struct_export(parameter, &full, sizeof full);
    return CRIBO_OK;
}

cribo_status cb_export_parameter_at(
    const cb_parameters *parameters, int64_t index, cribo_parameter *parameter)
{
    CB_REQUIRE_POINTER(parameter);
    CB_REQUIRE(index >= 0 && (uint64_t)index < parameters->count, "index = %lld must be in 0 ... %zu",
        (long long)index, parameters->count - 1);
    return cb_export_parameter(&parameters->list[index], parameter);
}
