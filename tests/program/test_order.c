/* Orders that are computed and not stored. */
#include "pictures/order.h"
#include "suite.h"

#include <string.h>

START_TEST(test_order_has_each_thing_at_one_place)
{
    static uint8_t seen[5000];
    for (uint64_t count = 1; count <= sizeof seen; count = count < 70 ? count + 1 : count + 1237) {
        struct order order = order_make(3, count, count);
        memset(seen, 0, sizeof seen);
        for (uint64_t place = 0; place < count; place++) {
            uint64_t thing = order_at(&order, place);
            ck_assert_uint_lt(thing, count);
            ck_assert_int_eq(seen[thing]++, 0);
        }
    }
}
END_TEST

START_TEST(test_order_of_very_many_stays_inside)
{
    uint64_t count = (UINT64_C(1) << 40) + 1, sum = 0;
    struct order order = order_make(3, 1, count);
    for (uint64_t place = 0; place < 1000; place++) {
        uint64_t thing = order_at(&order, place);
        ck_assert_uint_lt(thing, count);
        sum += thing >> 30;
    }
    /* The mean of 1000 numbers below 1024 lies within five deviations of 512. */
    ck_assert(sum > 1000 * 465 && sum < 1000 * 559);
}
END_TEST

/* Which of the 120 orders of five things a stream gives, as a number to the base 5. */
static int order_of_five(uint64_t stream)
{
    struct order order = order_make(7, stream, 5);
    int number = 0;
    for (uint64_t place = 0; place < 5; place++) number = 5 * number + (int)order_at(&order, place);
    return number;
}

START_TEST(test_order_streams_give_all_orders_about_equally_often)
{
    enum { TIMES = 100, ORDERS = 120, NUMBERS = 5 * 5 * 5 * 5 * 5 };
    int counts[NUMBERS] = {0}, orders = 0;
    double chi_square = 0;
    for (uint64_t stream = 0; stream < TIMES * ORDERS; stream++) counts[order_of_five(stream)]++;
    for (int i = 0; i < NUMBERS; i++) {
        if (counts[i] == 0) continue;
        orders++;
        chi_square += (counts[i] - TIMES) * (counts[i] - TIMES) / (double)TIMES;
    }
    ck_assert_int_eq(orders, ORDERS);
    /* 119 degrees of freedom: within four deviations of the mean. */
    ck_assert_double_lt(chi_square, 119 + 4 * 15.4);
    ck_assert_double_gt(chi_square, 119 - 4 * 15.4);
}
END_TEST

/* The share of neighbours that stay neighbours is that of chance. */
START_TEST(test_order_tears_neighbours_apart)
{
    enum { COUNT = 3000 };
    struct order order = order_make(1, 1, COUNT), other = order_make(2, 1, COUNT);
    int close = 0, same = 0;
    for (uint64_t place = 0; place + 1 < COUNT; place++) {
        int64_t step = (int64_t)order_at(&order, place + 1) - (int64_t)order_at(&order, place);
        close += step >= -10 && step <= 10;
        same += order_at(&order, place) == order_at(&other, place);
    }
    ck_assert_int_lt(close, 45); /* 20 expected */
    ck_assert_int_lt(same, 8);   /* 1 expected */
}
END_TEST

RUN_TESTS("order", test_order_has_each_thing_at_one_place, test_order_of_very_many_stays_inside,
    test_order_streams_give_all_orders_about_equally_often, test_order_tears_neighbours_apart)
