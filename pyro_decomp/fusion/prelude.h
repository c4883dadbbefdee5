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
#define fabs_ OF_REAL(fabs)
#define lgamma_ OF_REAL(lgamma)

#define INLINE static inline __attribute__((always_inline))

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

/* rows x count results, `width` vectors wide; `last` numbers in the last of them. */
INLINE void block_along(int64_t rows, int64_t width, int64_t last, int64_t terms, const real *x,
                        int64_t x_term, const real *y, int64_t y_term, int64_t y_row, real *out,
                        int64_t out_row) {
    vec sums[4][4] = {{{0}}};
    for (int64_t k = 0; k < terms; k++) {
        vec along[4];
        for (int64_t v = 0; v < width; v++)
            along[v] = load(x + k * x_term + v * LANES, v == width - 1 ? last : LANES);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t v = 0; v < width; v++)
                sums[r][v] += along[v] * y[k * y_term + r * y_row];
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t v = 0; v < width; v++)
            store(out + r * out_row + v * LANES, sums[r][v], v == width - 1 ? last : LANES);
}

INLINE void rows_along(int64_t rows, int64_t length, int64_t terms, const real *x, int64_t x_term,
                       const real *y, int64_t y_term, int64_t y_row, real *out, int64_t out_row) {
    int64_t n = 0;
    for (; n + 4 * LANES <= length; n += 4 * LANES)
        block_along(rows, 4, LANES, terms, x + n, x_term, y, y_term, y_row, out + n, out_row);
    for (; n + LANES <= length; n += LANES)
        block_along(rows, 1, LANES, terms, x + n, x_term, y, y_term, y_row, out + n, out_row);
    if (length % LANES)
        block_along(rows, 1, length % LANES, terms, x + n, x_term, y, y_term, y_row, out + n,
                    out_row);
}

/* out[r, n] = sum_k y[k, r] x[k, n]: numbers in a row along n, in x and in out. */
INLINE void product_along(int64_t rows, int64_t length, int64_t terms, const real *x,
                          int64_t x_term, const real *y, int64_t y_term, int64_t y_row, real *out,
                          int64_t out_row) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
        rows_along(4, length, terms, x, x_term, y + r * y_row, y_term, y_row, out + r * out_row,
                   out_row);
    if (rows % 4)
        rows_along(rows % 4, length, terms, x, x_term, y + r * y_row, y_term, y_row,
                   out + r * out_row, out_row);
}

INLINE real sum_of(vec x) {
    for (int64_t half = LANES / 2; half; half /= 2)
        for (int64_t i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

INLINE void block_across(int64_t rows, int64_t columns, int64_t terms, const real *x, int64_t x_row,
                         const real *y, int64_t y_row, real *out, int64_t out_row,
                         int64_t out_column) {
    vec sums[4][4] = {{{0}}};
    const int64_t whole = terms - terms % LANES;
    for (int64_t k = 0; k < terms; k += LANES) {
        const int64_t count = k < whole ? LANES : terms % LANES;
        vec ys[4];
        for (int64_t c = 0; c < columns; c++) ys[c] = load(y + c * y_row + k, count);
        for (int64_t r = 0; r < rows; r++) {
            const vec xs = load(x + r * x_row + k, count);
            for (int64_t c = 0; c < columns; c++) sums[r][c] += xs * ys[c];
        }
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            out[r * out_row + c * out_column] = sum_of(sums[r][c]);
}

INLINE void columns_across(int64_t rows, int64_t columns, int64_t terms, const real *x,
                           int64_t x_row, const real *y, int64_t y_row, real *out, int64_t out_row,
                           int64_t out_column) {
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4)
        block_across(rows, 4, terms, x, x_row, y + c * y_row, y_row, out + c * out_column, out_row,
                     out_column);
    if (columns % 4)
        block_across(rows, columns % 4, terms, x, x_row, y + c * y_row, y_row,
                     out + c * out_column, out_row, out_column);
}

/* out[r, c] = sum_k x[r, k] y[c, k]: numbers in a row along k, in both. */
INLINE void product_across(int64_t rows, int64_t columns, int64_t terms, const real *x,
                           int64_t x_row, const real *y, int64_t y_row, real *out, int64_t out_row,
                           int64_t out_column) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
        columns_across(4, columns, terms, x + r * x_row, x_row, y, y_row, out + r * out_row,
                       out_row, out_column);
    if (rows % 4)
        columns_across(rows % 4, columns, terms, x + r * x_row, x_row, y, y_row,
                       out + r * out_row, out_row, out_column);
}

/* Any layout into rows: to[r, c] = from[r, c]. */
INLINE void pack(int64_t rows, int64_t columns, const real *from, int64_t row, int64_t column,
                 real *to) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) to[r * columns + c] = from[r * row + c * column];
}
