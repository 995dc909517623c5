/*
 * libcribo from C++17: handles that free themselves, and exceptions in place of statuses.
 *
 * Everything above `main` is all the wrapper that it takes; copy it into a program and leave out the
 * handles not used.
 */
#include <cribo/cribo.h>

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace cribo
{

/* What a failed call becomes. Running out of memory is std::bad_alloc, as everywhere in C++. */
class error : public std::runtime_error
{
  public:
    explicit error(cribo_status status)
        : std::runtime_error(std::string(cribo_status_name(status)) + ": " + cribo_last_error()),
          status_(status)
    {
    }
    cribo_status status() const noexcept
    {
        return status_;
    }

  private:
    cribo_status status_;
};

inline void check(cribo_status status)
{
    if (status == CRIBO_OUT_OF_MEMORY) throw std::bad_alloc();
    if (status != CRIBO_OK) throw error(status);
}

/* std::unique_ptr that calls the handle's own free function; it takes no more room than a pointer. */
template <auto release> struct releaser {
    template <class handle> void operator()(handle *it) const noexcept
    {
        release(it);
    }
};
using clusterer = std::unique_ptr<cribo_clusterer, releaser<cribo_clusterer_free>>;
using loss = std::unique_ptr<cribo_loss, releaser<cribo_loss_free>>;
using memory_bank = std::unique_ptr<cribo_memory_bank, releaser<cribo_memory_bank_free>>;
using model = std::unique_ptr<cribo_model, releaser<cribo_model_free>>;
using trainer = std::unique_ptr<cribo_trainer, releaser<cribo_trainer_free>>;
static_assert(sizeof(model) == sizeof(cribo_model *), "a handle is a pointer");

/* make<model>(cribo_model_create, config, runtime): an owned handle from a ..._create function. */
template <class handle, class create, class... arguments>
handle make(create function, const arguments &...with)
{
    typename handle::pointer made = nullptr;
    check(function(&made, with...));
    return handle(made);
}

/* A config with the published defaults: defaults(cribo_model_config_init). */
template <class config> config defaults(cribo_status (*init)(config *, std::size_t))
{
    config made;
    check(init(&made, sizeof made));
    return made;
}

} // namespace cribo

static void expect(bool truth, const char *what)
{
    if (truth) return;
    std::cerr << "not so: " << what << '\n';
    std::exit(EXIT_FAILURE);
}

static std::vector<float> features(cribo_model *model, std::int64_t size)
{
    std::vector<float> pixels(static_cast<std::size_t>(3 * size * size), 0.5F), cls(32);
    cribo::check(cribo_model_features(model, 1, size, size, pixels.data(), nullptr, cls.data(), nullptr));
    return cls;
}

int main()
{
    auto config = cribo::defaults(cribo_model_config_init);
    config.image_size = 16;
    config.patch_size = 8;
    config.width = 32;
    config.heads = 2;
    config.depth = 2;
    config.prototypes = config.object_prototypes = 0;
    auto model = cribo::make<cribo::model>(cribo_model_create, &config, nullptr);
    for (float value : features(model.get(), 16)) expect(std::isfinite(value), "features are finite");

    /* An error is an exception with the library's message; the model is unchanged. */
    try {
        features(model.get(), 17);
        expect(false, "a side of 17 pixels is refused");
    } catch (const cribo::error &e) {
        std::cout << e.what() << '\n';
        expect(e.status() == CRIBO_INVALID_ARGUMENT, "the status says what is wrong");
    }
    try {
        config.heads = 3;
        cribo::make<cribo::model>(cribo_model_create, &config, nullptr);
        expect(false, "3 heads do not divide 32");
    } catch (const cribo::error &e) {
        std::cout << e.what() << '\n';
    }

    /* The allocator that is always at its end: bad_alloc. */
    auto runtime = cribo::defaults(cribo_runtime_init);
    runtime.allocate = [](void *, std::size_t) -> void * { return nullptr; };
    runtime.release = [](void *, void *) {};
    config.heads = 2;
    try {
        cribo::make<cribo::model>(cribo_model_create, &config, &runtime);
        expect(false, "there is no memory");
    } catch (const std::bad_alloc &) {
    }

    auto moved = std::move(model);
    expect(!model && features(moved.get(), 24).size() == 32,
        "handles can be moved, and images may have other sizes");
    return 0;
}
