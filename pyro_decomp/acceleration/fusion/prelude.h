/* What fused steps are written with: numbers, functions of them, and products of matrices.
 *
 * DOUBLE: 64 bits a number, in place of 32. */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef DOUBLE
typedef double real;
#define OF_REAL(name) name
#else
typedef float real;
#define OF_REAL(name) name##f
#endif

/* glibc has these for whole vectors too, with errors of at most 4 units in the last place. */
#if defined(__GLIBC__) && defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VECTOR(name) __attribute__((simd("notinbranch"))) real OF_REAL(name)(real);
VECTOR(exp) VECTOR(log) VECTOR(sin) VECTOR(cos)
__attribute__((simd("notinbranch"))) real OF_REAL(pow)(real, real);
#if __GLIBC_PREREQ(2, 35)
VECTOR(expm1) VECTOR(log1p) VECTOR(tanh) VECTOR(erf)
#endif
#endif

#define exp_ OF_REAL(exp)
#define log_ OF_REAL(log)
#define sin_ OF_REAL(sin)
#define cos_ OF_REAL(cos)
#define expm1_ OF_REAL(expm1)
#define log1p_ OF_REAL(log1p)
#define tanh_ OF_REAL(tanh)
#define erf_ OF_REAL(erf)
#define pow_ OF_REAL(pow)
#define sqrt_ OF_REAL(sqrt)
#define rsqrt_(x) (1 / sqrt_(x))
#define fabs_ OF_REAL(fabs)
#define lgamma_ OF_REAL(lgamma)

#ifdef __OPTIMIZE__ /* else the compiler is to be quick */
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* A function of which callers know nothing. If it knows what one writes, gcc 12 may conclude that
 * a call of it changes nothing, which is wrong, and leave the call out. */
#if defined(__has_attribute) && __has_attribute(noipa)
#define APART static __attribute__((noipa))
#else
#define APART static __attribute__((noinline))
#endif

/* As torch's: 0 of what is not a number. */
INLINE real sign(real x) { return (real)((x > 0) - (x < 0)); }

/* As torch's maximum and minimum: not a number if one of them is not. In two steps, as a condition
 * of two parts would keep loops from being vectorised. */
INLINE real largest(real x, real y) {
    const real of_two = x > y ? x : y;
    return x != x ? x : of_two;
}
INLINE real smallest(real x, real y) {
    const real of_two = x < y ? x : y;
    return x != x ? x : of_two;
}

INLINE int64_t clamped(int64_t at, int64_t extent) {
    return at < 0 ? 0 : at < extent ? at : extent - 1;
}

/* ---- Products of matrices whose sizes the compiler knows ---- */

#if defined __AVX512F__
#define BYTES 64
#elif defined __AVX__
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES ((int64_t)(BYTES / sizeof(real)))
typedef real vec __attribute__((vector_size(BYTES)));

INLINE vec load(const real *from, int64_t count) {
    vec x = {0};
    memcpy(&x, from, (size_t)count * sizeof(real));
    return x;
}

INLINE void store(real *to, vec x, int64_t count) { memcpy(to, &x, (size_t)count * sizeof(real)); }

#define ROWS 6  /* of results that are added up at once, by */
#define WIDTH 4 /* vectors: with one factor of each they fill the registers of AVX-512 */

/* rows x (width vectors) results; `last` numbers in the last of the vectors. */
INLINE void block_along(int64_t rows, int64_t width, int64_t last, int64_t terms, const real *x,
                        int64_t x_term, const real *y, int64_t y_term, int64_t y_row, real *out,
                        int64_t out_row) {
    vec sums[ROWS][WIDTH] = {{{0}}};
    for (int64_t k = 0; k < terms; k++) {
        vec along[WIDTH];
#pragma GCC unroll 4
        for (int64_t v = 0; v < width - 1; v++) along[v] = load(x + k * x_term + v * LANES, LANES);
        along[width - 1] = load(x + k * x_term + (width - 1) * LANES, last);
#pragma GCC unroll 6
        for (int64_t r = 0; r < rows; r++) {
            const real factor = y[k * y_term + r * y_row];
#pragma GCC unroll 4
            for (int64_t v = 0; v < width; v++) sums[r][v] += along[v] * factor;
        }
    }
#pragma GCC unroll 6
    for (int64_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int64_t v = 0; v < width - 1; v++)
            store(out + r * out_row + v * LANES, sums[r][v], LANES);
        store(out + r * out_row + (width - 1) * LANES, sums[r][width - 1], last);
    }
}

INLINE void rows_along(int64_t rows, int64_t length, int64_t terms, const real *x, int64_t x_term,
                       const real *y, int64_t y_term, int64_t y_row, real *out, int64_t out_row) {
    const int64_t whole = length - length % (WIDTH * LANES), rest = length - whole;
    for (int64_t n = 0; n < whole; n += WIDTH * LANES)
        block_along(rows, WIDTH, LANES, terms, x + n, x_term, y, y_term, y_row, out + n, out_row);
    if (rest) {
        const int64_t width = (rest + LANES - 1) / LANES;
        block_along(rows, width, rest - (width - 1) * LANES, terms, x + whole, x_term, y, y_term,
                    y_row, out + whole, out_row);
    }
}

/* out[r, n] = sum_k y[k, r] x[k, n]: x and out are contiguous along n. */
INLINE void product_along(int64_t rows, int64_t length, int64_t terms, const real *x,
                          int64_t x_term, const real *y, int64_t y_term, int64_t y_row, real *out,
                          int64_t out_row) {
    const int64_t whole = rows - rows % ROWS;
    for (int64_t r = 0; r < whole; r += ROWS)
        rows_along(ROWS, length, terms, x, x_term, y + r * y_row, y_term, y_row, out + r * out_row,
                   out_row);
    if (rows % ROWS)
        rows_along(rows % ROWS, length, terms, x, x_term, y + whole * y_row, y_term, y_row,
                   out + whole * out_row, out_row);
}

INLINE real sum_of(vec x) {
    real lanes[LANES];
    memcpy(lanes, &x, sizeof x);
#pragma GCC unroll 4
    for (int64_t half = LANES / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int64_t i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

#define SIDE 4 /* rows and columns of results that are added up at once */

INLINE void add_across(int64_t rows, int64_t columns, int64_t count, const real *x, int64_t x_row,
                       const real *y, int64_t y_row, vec sums[SIDE][SIDE]) {
    vec ys[SIDE];
#pragma GCC unroll 4
    for (int64_t c = 0; c < columns; c++) ys[c] = load(y + c * y_row, count);
#pragma GCC unroll 4
    for (int64_t r = 0; r < rows; r++) {
        const vec xs = load(x + r * x_row, count);
#pragma GCC unroll 4
        for (int64_t c = 0; c < columns; c++) sums[r][c] += xs * ys[c];
    }
}

INLINE void block_across(int64_t rows, int64_t columns, int64_t terms, const real *x, int64_t x_row,
                         const real *y, int64_t y_row, real *out, int64_t out_row,
                         int64_t out_column) {
    vec sums[SIDE][SIDE] = {{{0}}};
    const int64_t whole = terms - terms % LANES;
    for (int64_t k = 0; k < whole; k += LANES)
        add_across(rows, columns, LANES, x + k, x_row, y + k, y_row, sums);
    if (terms % LANES)
        add_across(rows, columns, terms % LANES, x + whole, x_row, y + whole, y_row, sums);
#pragma GCC unroll 4
    for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int64_t c = 0; c < columns; c++)
            out[r * out_row + c * out_column] = sum_of(sums[r][c]);
}

INLINE void columns_across(int64_t rows, int64_t columns, int64_t terms, const real *x,
                           int64_t x_row, const real *y, int64_t y_row, real *out, int64_t out_row,
                           int64_t out_column) {
    const int64_t whole = columns - columns % SIDE;
    for (int64_t c = 0; c < whole; c += SIDE)
        block_across(rows, SIDE, terms, x, x_row, y + c * y_row, y_row, out + c * out_column,
                     out_row, out_column);
    if (columns % SIDE)
        block_across(rows, columns % SIDE, terms, x, x_row, y + whole * y_row, y_row,
                     out + whole * out_column, out_row, out_column);
}

/* out[r, c] = sum_k x[r, k] y[c, k]: both are contiguous along k. */
INLINE void product_across(int64_t rows, int64_t columns, int64_t terms, const real *x,
                           int64_t x_row, const real *y, int64_t y_row, real *out, int64_t out_row,
                           int64_t out_column) {
    const int64_t whole = rows - rows % SIDE;
    for (int64_t r = 0; r < whole; r += SIDE)
        columns_across(SIDE, columns, terms, x + r * x_row, x_row, y, y_row, out + r * out_row,
                       out_row, out_column);
    if (rows % SIDE)
        columns_across(rows % SIDE, columns, terms, x + whole * x_row, x_row, y, y_row,
                       out + whole * out_row, out_row, out_column);
}

/* Any layout into rows: to[r, c] = from[r, c]. */
INLINE void pack(int64_t rows, int64_t columns, const real *from, int64_t row, int64_t column,
                 real *to) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) to[r * columns + c] = from[r * row + c * column];
}
