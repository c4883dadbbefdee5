/* Log densities of mixtures of factorised Gaussians at many points, and their gradients.
 *
 *   L_Js = log sum_m w_sm prod_{d in J} Normal(z_ds; loc_dm, scale_dm)   for several sets J
 *
 * With -DDOUBLE in double precision, else in single. All inside is in base 2: with
 * h = sqrt(log2(e)/2)/scale and t = h (z - loc), log2 of a density is the sum over d of c - t^2.
 * Components are held in tiles that fit the first cache, padded with some of density 0; samples
 * are taken ROWS at a time. Nothing is kept for every pair. The gradients are
 *
 *   dL/dz_s = -sum_m v r/scale,  dL/dloc_m = sum_s v r/scale,  dL/dscale_m = sum_s v (r^2-1)/scale
 *
 * with r = (z_s - loc_m)/scale_m and v_sm the share of component m in exp(L_s).
 *
 * Vectors are those of GCC and Clang, as wide as the processor's.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LOG2_E 1.4426950408889634074
#define ROOT_TWO_PI 2.5066282746310005024
#define ROOT_HALF_LOG2_E 0.84932180028801904272

#ifdef DOUBLE
typedef double real;
typedef int64_t bits;
#define MANTISSA 52
#define BIAS 1023
#define LOWEST (-1.7e308)
#define NEGLIGIBLE (-600 * LOG2_E) /* less would come near denormal numbers, which are slow */
#else
typedef float real;
typedef int32_t bits;
#define MANTISSA 23
#define BIAS 127
#define LOWEST (-3.4e38f)
#define NEGLIGIBLE (-60 * LOG2_E)
#endif

#if defined __AVX512F__
#define BYTES 64
#elif defined __AVX__
#define BYTES 32
#else
#define BYTES 16
#endif

#define LANES ((int)(BYTES / sizeof(real)))
#define ROWS 4
#define CACHE (40 << 10) /* bytes that a tile, and all that is held for it, may take */
#define FOR_ROWS for (int r = 0; r < ROWS; r++)

typedef real vec __attribute__((vector_size(BYTES), may_alias));
typedef bits ivec __attribute__((vector_size(BYTES), may_alias));

/* What stays the same from call to call. */
typedef struct {
    int64_t members, dims, samples, components;
    int64_t z_step, loc_step, scale_step; /* from one member's numbers to the next's; 0 if shared */
    double other, own, following;         /* log weights, as PairWeights has them */
    const int64_t *ranges;                /* first and last + 1 of each of num_ranges sets J */
    int64_t num_ranges, split;            /* all dimensions; if split, ranges and each one too */
    int64_t rows_step, num_rows;          /* between members' rows; how many rows there are */
} problem;

typedef struct {
    const real *z, *loc, *scale; /* [members, dims, samples or components] */
    const real *rows;            /* [members, 1 or 2, components], or null: see add_weights */
} values;

/* Some components. The constants of all dimensions are added up unless the problem is split. */
typedef struct {
    int64_t first, count, used; /* component, components, and vectors that hold them */
    vec *loc, *h, *constant;    /* [dims, width] */
    const real *rows;           /* of the member, from the first component on; or null */
} tile;

static inline vec larger(vec x, vec y) { /* y where x is not a number */
    ivec above = x > y;
    return (vec)((above & (ivec)x) | (~above & (ivec)y));
}

/* 2^x for x that are not far above 0, to about 1 unit in the last place; 0 where negligible. */
static inline vec exp2_(vec x) {
    const real shifter = (real)(((int64_t)3 << (MANTISSA - 1)) + BIAS);
    vec shifted = x + shifter; /* its last bits are those of round(x) + BIAS */
    vec f = x - (shifted - shifter);
#ifdef DOUBLE /* minimax for |f| <= 1/2: relative error 3e-18 */
    vec p = (real)4.43528094461033616e-10 * f + (real)7.07410562624565937e-9;
    p = p * f + (real)1.01781980333285277e-7;
    p = p * f + (real)1.3215433089594629e-6;
    p = p * f + (real)1.52527334899608046e-5;
    p = p * f + (real)1.5403530462514613e-4;
    p = p * f + (real)1.33335581467899503e-3;
    p = p * f + (real)9.61812910758833508e-3;
    p = p * f + (real)5.55041086648199215e-2;
    p = p * f + (real)0.240226506959101562;
    p = p * f + (real)0.69314718055994533;
#else /* 2e-9 */
    vec p = (real)1.53458121587401825e-4 * f + (real)1.33999312094741405e-3;
    p = p * f + (real)9.61848895652279157e-3;
    p = p * f + (real)5.55032877699766376e-2;
    p = p * f + (real)0.240226468906395721;
    p = p * f + (real)0.693147205737252675;
#endif
    p = p * f + (real)1;
    vec y = p * (vec)((ivec)shifted << MANTISSA);
    return (vec)((ivec)y & ~(x < (real)NEGLIGIBLE));
}

static inline real sum(vec x) {
    real lanes[LANES];
    memcpy(lanes, &x, sizeof x);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

static inline real maximum(vec x) {
    real lanes[LANES];
    memcpy(lanes, &x, sizeof x);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            if (lanes[i] < lanes[i + half]) lanes[i] = lanes[i + half];
    return lanes[0];
}

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t num_joints(const problem *p) { return p->split ? 1 + p->num_ranges : 1; }

static inline int64_t num_sets(const problem *p) {
    return num_joints(p) + (p->split ? p->dims : 0);
}

static inline int64_t num_constants(const problem *p) { return p->split ? p->dims : 1; }

/* Vectors in a row of a tile, if `rows` of them are held at a time. */
static int64_t width_of(const problem *p, int64_t rows) {
    int64_t fit = at_most(CACHE / (rows * BYTES), 16), needed = ceil_div(p->components, LANES);
    return at_most(fit < 2 ? 2 : fit, needed);
}

static int64_t forward_width(const problem *p) {
    return width_of(p, 2 * p->dims + num_constants(p) + ROWS * num_sets(p));
}

static int64_t backward_width(const problem *p) {
    return width_of(p, 4 * p->dims + 2 * num_constants(p) + ROWS * num_sets(p));
}

static vec *allocate(int64_t vectors) { return aligned_alloc(BYTES, (size_t)(vectors * BYTES)); }

static int64_t tile_size(const problem *p, int64_t width) {
    return (2 * p->dims + num_constants(p)) * width;
}

static tile pack(const problem *p, values x, int64_t member, int64_t number, int64_t width,
                 vec *memory) {
    const int64_t columns = width * LANES, first = number * columns;
    const int64_t count = at_most(p->components - first, columns);
    tile t = {first, count, ceil_div(count, LANES), memory, memory + p->dims * width,
              memory + 2 * p->dims * width,
              x.rows ? x.rows + member * p->rows_step + first : NULL};
    memset(memory, 0, (size_t)(tile_size(p, width) * BYTES));
    for (int64_t d = 0; d < p->dims; d++) {
        const real *loc = x.loc + member * p->loc_step + d * p->components + first;
        const real *scale = x.scale + member * p->scale_step + d * p->components + first;
        real *h = (real *)(t.h + d * width);
        real *constant = (real *)(t.constant + (p->split ? d * width : 0));
        memcpy(t.loc + d * width, loc, (size_t)count * sizeof(real));
        for (int64_t m = 0; m < count; m++) {
            h[m] = (real)ROOT_HALF_LOG2_E / scale[m];
            constant[m] -= (real)log2((double)scale[m] * ROOT_TWO_PI);
        }
        for (int64_t m = count; m < columns; m++) constant[m] = -INFINITY;
    }
    return t;
}

/* [dims, ROWS] of z, the last sample in place of those beyond it. */
static void gather(const problem *p, values x, int64_t member, int64_t row, real *z) {
    const real *from = x.z + member * p->z_step;
    for (int64_t d = 0; d < p->dims; d++)
        FOR_ROWS z[d * ROWS + r] = from[d * p->samples + at_most(row + r, p->samples - 1)];
}

/* rows: the first is the log weight of each component; a second stands in its place for the
 * component that the sample is of. */
static void add_rows(const problem *p, const tile *t, int64_t row, int64_t width, vec *pairs) {
    for (int64_t i = 0; i < num_sets(p) * ROWS; i++) {
        const int64_t s = row + i % ROWS, at = s - t->first;
        real *to = (real *)(pairs + i * width);
        const int apart = p->num_rows > 1 && s < p->samples && at >= 0 && at < t->count;
        const real own = apart ? to[at] + t->rows[p->components + at] * (real)LOG2_E : 0;
        for (int64_t m = 0; m < t->count; m++) to[m] += t->rows[m] * (real)LOG2_E;
        if (apart) to[at] = own;
    }
}

static void add_weights(const problem *p, const tile *t, int64_t row, int64_t width, vec *pairs) {
    if (t->rows) {
        add_rows(p, t, row, width, pairs);
        return;
    }
    const real excess[2] = {(real)((p->own - p->other) * LOG2_E),
                            (real)((p->following - p->other) * LOG2_E)};
    FOR_ROWS {
        const int64_t s = row + r;
        if (s >= p->samples || s >= p->components) continue;
        const int64_t at[2] = {s - t->first, (s + 1) % p->components - t->first};
        for (int i = 0; i < 2; i++) {
            if (excess[i] == 0 || at[i] < 0 || at[i] >= t->count) continue;
            for (int64_t k = 0; k < num_sets(p); k++)
                ((real *)(pairs + (k * ROWS + r) * width))[at[i]] += excess[i];
        }
    }
}

/* log2 of w_sm prod_{d in J} Normal_dsm for ROWS samples: pairs is [sets, ROWS, width]. */
static void densities(const problem *p, const tile *t, const real *z, int64_t row, int64_t width,
                      vec *pairs) {
    const int64_t dims = p->dims, split = p->split;
    vec *single = pairs + num_joints(p) * ROWS * width;
    for (int64_t v = 0; v < t->used; v++) {
        vec joint[ROWS];
        FOR_ROWS joint[r] = split ? (vec){0} : t->constant[v];
        for (int64_t d = 0; d < dims; d++) {
            const vec loc = t->loc[d * width + v], h = t->h[d * width + v];
            if (split) {
                const vec c = t->constant[d * width + v];
                FOR_ROWS {
                    const vec x = (z[d * ROWS + r] - loc) * h, y = c - x * x;
                    single[(d * ROWS + r) * width + v] = y;
                    joint[r] += y;
                }
            } else {
                FOR_ROWS {
                    const vec x = (z[d * ROWS + r] - loc) * h;
                    joint[r] -= x * x;
                }
            }
        }
        FOR_ROWS pairs[r * width + v] = joint[r];
        for (int64_t k = 1; k < num_joints(p); k++) {
            FOR_ROWS joint[r] = (vec){0};
            for (int64_t d = p->ranges[2 * k - 2]; d < p->ranges[2 * k - 1]; d++)
                FOR_ROWS joint[r] += single[(d * ROWS + r) * width + v];
            FOR_ROWS pairs[(k * ROWS + r) * width + v] = joint[r];
        }
    }
    add_weights(p, t, row, width, pairs);
}

/* Every lane has a maximum and a sum of its own: one more tile of ROWS rows. */
static void add_up(const vec *pairs, int64_t used, int64_t width, vec *largest, vec *total) {
    vec most[ROWS], more[ROWS];
    FOR_ROWS most[r] = largest[r], more[r] = (vec){0};
    for (int64_t v = 0; v < used; v++)
        FOR_ROWS most[r] = larger(pairs[r * width + v], most[r]);
    for (int64_t v = 0; v < used; v++)
        FOR_ROWS more[r] += exp2_(pairs[r * width + v] - most[r]);
    FOR_ROWS total[r] = total[r] * exp2_(largest[r] - most[r]) + more[r], largest[r] = most[r];
}

static real log_sum(vec largest, vec total, double other) {
    const real most = maximum(largest), share = sum(total * exp2_(largest - most));
    /* no pair was above -infinity: the torch code's inf - inf */
    return share == 0 ? (real)NAN : (real)((log2((double)share) + (double)most) / LOG2_E + other);
}

/* Units into which forward may be cut: each is some rows of a member. */
int64_t forward_units(const problem *p) { return p->members * ceil_div(p->samples, ROWS); }

/* Writes [members, sets, samples]. Gives 0 if there was memory. */
int forward(const problem *p, int64_t begin, int64_t end, const real *z, const real *loc,
            const real *scale, const real *rows, real *out) {
    const values x = {z, loc, scale, rows};
    const int64_t sets = num_sets(p), blocks = ceil_div(p->samples, ROWS);
    const int64_t width = forward_width(p), tiles = ceil_div(p->components, width * LANES);
    const int64_t size = tile_size(p, width);
    vec *packed = allocate(tiles * size + sets * ROWS * (width + 2));
    vec *pairs = packed + tiles * size, *largest = pairs + sets * ROWS * width;
    vec *total = largest + sets * ROWS;
    tile *tiling = malloc((size_t)tiles * sizeof(tile));
    real *points = malloc((size_t)(p->dims * ROWS) * sizeof(real));
    const int failed = !packed || !tiling || !points;
    int64_t packed_member = -1;
    for (int64_t unit = begin; unit < end && !failed; unit++) {
        const int64_t member = unit / blocks, row = unit % blocks * ROWS;
        if (member != packed_member)
            for (int64_t i = 0; i < tiles; i++)
                tiling[i] = pack(p, x, member, i, width, packed + i * size);
        packed_member = member;
        gather(p, x, member, row, points);
        for (int64_t i = 0; i < sets * ROWS; i++)
            largest[i] = (vec){0} + (real)LOWEST, total[i] = (vec){0};
        for (int64_t i = 0; i < tiles; i++) {
            densities(p, tiling + i, points, row, width, pairs);
            for (int64_t k = 0; k < sets * ROWS; k += ROWS)
                add_up(pairs + k * width, tiling[i].used, width, largest + k, total + k);
        }
        for (int64_t k = 0; k < sets; k++)
            for (int64_t r = 0; r < ROWS && row + r < p->samples; r++)
                out[(member * sets + k) * p->samples + row + r] =
                    log_sum(largest[k * ROWS + r], total[k * ROWS + r], p->other);
    }
    free(packed), free(tiling), free(points);
    return failed;
}

/* What backward adds up for a tile: v, v t and v t^2 over samples, v t h over components. */
typedef struct {
    vec *share, *first, *second; /* [constants or dims, width] */
    vec *push;                   /* [dims, ROWS] */
} sums;

/* One vector of components, ROWS samples; log_total and factor are [sets, ROWS]. */
static inline void add_gradients(const problem *p, const tile *t, const real *z, int64_t width,
                                 int64_t v, vec *pairs, const real *log_total, const real *factor,
                                 sums to) {
    const int64_t joints = num_joints(p), split = p->split;
    vec whole[ROWS];
    FOR_ROWS whole[r] = exp2_(pairs[r * width + v] - log_total[r]) * factor[r];
    for (int64_t i = ROWS; i < joints * ROWS; i++)
        pairs[i * width + v] = exp2_(pairs[i * width + v] - log_total[i]) * factor[i];
    if (!split) FOR_ROWS to.share[v] += whole[r];
    for (int64_t d = 0; d < p->dims; d++) {
        const int64_t at = d * width + v;
        vec share[ROWS];
        FOR_ROWS share[r] = whole[r];
        if (split) {
            for (int64_t k = 1; k < joints; k++)
                if (p->ranges[2 * k - 2] <= d && d < p->ranges[2 * k - 1])
                    FOR_ROWS share[r] += pairs[(k * ROWS + r) * width + v];
            FOR_ROWS {
                const int64_t i = (joints + d) * ROWS + r;
                share[r] += exp2_(pairs[i * width + v] - log_total[i]) * factor[i];
                to.share[at] += share[r];
            }
        }
        const vec loc = t->loc[at], h = t->h[at];
        vec first = to.first[at], second = to.second[at];
        FOR_ROWS {
            const vec x = (z[d * ROWS + r] - loc) * h, weighted = share[r] * x;
            first += weighted, second += weighted * x;
            if (to.push) to.push[d * ROWS + r] += weighted * h;
        }
        to.first[at] = first, to.second[at] = second;
    }
}

/* Units into which backward may be cut: each is some components of a member. */
int64_t backward_units(const problem *p) {
    return p->members * ceil_div(p->components, backward_width(p) * LANES);
}

/* Writes grad_loc and grad_scale; subtracts from grad_z, of which every thread has its own, unless
 * that is null. Gives 0 if there was memory. */
int backward(const problem *p, int64_t begin, int64_t end, const real *z, const real *loc,
             const real *scale, const real *rows, const real *out, const real *grad, real *grad_z,
             real *grad_loc, real *grad_scale) {
    const values x = {z, loc, scale, rows};
    const int64_t dims = p->dims, sets = num_sets(p), width = backward_width(p);
    const int64_t tiles = ceil_div(p->components, width * LANES), size = tile_size(p, width);
    vec *packed = allocate(2 * size + sets * ROWS * width + dims * ROWS);
    vec *added = packed + size, *pairs = added + size, *push = pairs + sets * ROWS * width;
    real *points = malloc((size_t)((dims + 2 * sets) * ROWS) * sizeof(real));
    real *log_total = points + dims * ROWS, *factor = log_total + sets * ROWS;
    const sums to = {added + 2 * dims * width, added, added + dims * width, grad_z ? push : NULL};
    const int failed = !packed || !points;
    for (int64_t unit = begin; unit < end && !failed; unit++) {
        const int64_t member = unit / tiles;
        const tile t = pack(p, x, member, unit % tiles, width, packed);
        memset(added, 0, (size_t)(size * BYTES));
        for (int64_t row = 0; row < p->samples; row += ROWS) {
            gather(p, x, member, row, points);
            for (int64_t i = 0; i < sets * ROWS; i++) {
                const int64_t s = row + i % ROWS, last = p->samples - 1;
                const int64_t at = (member * sets + i / ROWS) * p->samples + at_most(s, last);
                log_total[i] = (real)(((double)out[at] - p->other) * LOG2_E);
                factor[i] = s > last ? 0 : grad[at];
            }
            densities(p, &t, points, row, width, pairs);
            memset(push, 0, (size_t)(dims * ROWS * BYTES));
            for (int64_t v = 0; v < t.used; v++)
                add_gradients(p, &t, points, width, v, pairs, log_total, factor, to);
            for (int64_t d = 0; d < dims && grad_z; d++)
                for (int64_t r = 0; r < ROWS && row + r < p->samples; r++)
                    grad_z[(member * dims + d) * p->samples + row + r] -=
                        (real)(2 / LOG2_E) * sum(push[d * ROWS + r]);
        }
        for (int64_t d = 0; d < dims; d++) {
            const int64_t at = (member * dims + d) * p->components + t.first;
            const real *share = (real *)(to.share + (p->split ? d * width : 0));
            const real *first = (real *)(to.first + d * width);
            const real *second = (real *)(to.second + d * width), *h = (real *)(t.h + d * width);
            for (int64_t m = 0; m < t.count; m++) {
                grad_loc[at + m] = (real)(2 / LOG2_E) * first[m] * h[m];
                grad_scale[at + m] = ((real)(2 / LOG2_E) * second[m] - share[m]) *
                                     (h[m] / (real)ROOT_HALF_LOG2_E);
            }
        }
    }
    free(packed), free(points);
    return failed;
}
