// A program of a user of the installed library, in C++: handles in unique_ptr, errors as exceptions.
#include <cribo/cribo.h>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

static void check(cribo_status status)
{
    if (status != CRIBO_OK) throw std::runtime_error(cribo_last_error());
}

struct free_bank {
    void operator()(cribo_memory_bank *bank) const
    {
        cribo_memory_bank_free(bank);
    }
};

int main()
{
    cribo_memory_bank_config config;
    check(cribo_memory_bank_config_init(&config, sizeof config));
    config.bank_images = 10;
    config.objects_per_image = 2;
    config.width = 4;
    cribo_memory_bank *made = nullptr;
    check(cribo_memory_bank_create(&made, &config, nullptr));
    std::unique_ptr<cribo_memory_bank, free_bank> bank(made);

    std::vector<float> view1 = {1, 0, 0, 0, 0, 1, 0, 0}, view2 = {0, 0, 1, 0, 0, 0, 0, 1};
    std::vector<int64_t> counts = {2}, index(2);
    cribo_object_batch batch = {};
    batch.struct_size = sizeof batch;
    batch.images = 1;
    batch.objects_per_image = counts.data();
    batch.view1 = view1.data();
    batch.view2 = view2.data();
    cribo_match match = {};
    match.struct_size = sizeof match;
    match.index2 = index.data();
    check(cribo_memory_bank_push(bank.get(), &batch));
    check(cribo_memory_bank_query(bank.get(), &batch, &match));
    if (index[0] != 0 || index[1] != 1) throw std::runtime_error("wrong neighbours");

    config.width = -1;
    if (cribo_memory_bank_create(&made, &config, nullptr) != CRIBO_INVALID_ARGUMENT || made)
        throw std::runtime_error("a negative width is taken");
    if (std::string(cribo_last_error()).find("width") == std::string::npos)
        throw std::runtime_error("the message does not name the argument");
    std::cout << "ok\n";
}
